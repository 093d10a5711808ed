from datetime import date

import pandas as pd

from aigq_tasks.sources.market.card import card

DAYS = [date(2017, 10, 23), date(2017, 10, 24)]


def test_the_card_counts_days_and_sets_sources_side_by_side() -> None:
    shown = pd.DataFrame(
        {
            "user_id": ["ann", "bob", "ann", "ann"],
            "time": pd.to_datetime(
                ["2017-10-23T10", "2017-10-23T11", "2017-10-24T10", "2017-10-24T10"]
            ),
            "position": [1, 1, 1, 2],
            "source": ["popularity", "popularity", "ebr", "popularity"],
            "explored": [True, False, False, False],
            "clicked": [False, True, False, False],
        }
    )
    logs = {
        "hint_impressions": shown,
        "searches": shown[:3],
        "item_clicks": shown,
        "late_clicks": shown[:1],
    }
    baselines = pd.DataFrame(
        {
            "source": ["popularity", "popularity", "ebr"],
            "segment": ["all", "cold", "all"],
            "hr": [0.25, 0.5, 0.125],
            "n": [8, 4, 8],
        }
    )
    assert card(DAYS, logs, baselines) == (
        """# Market card

Replayed market over The Complete Journey (simulated), 2017-10-23 to 2017-10-24. Made by \
`aigq market-card`; the days that the demo evaluates are not in it.

| per day | mean |
| --- | --- |
| users with a request | 2 |
| hint impressions | 2 |
| hint clicks | 0 |
| searches | 2 |
| item clicks | 2 |
| clicks after midnight | 0.5 |

CTR 0.2500; by position 1: 0.3333, 2: 0.0000; explored 0.0000, exploited 0.3333.

Share of exposures: ebr 0.250, popularity 0.750.

## Query HR@30 by what was searched, all user-days after the first click model

| source | all (8) | cold (4) |
| --- | --- | --- |
| ebr | 0.125 | nan |
| popularity | 0.250 | 0.500 |
"""
    )
