from datetime import date

import pandas as pd

from aigq_tasks.sources.market.intent.config import IntentConfig
from aigq_tasks.sources.market.intent.landing import landed
from aigq_tasks.sources.market.intent.lexicon import load_phrasings
from aigq_tasks.sources.market.intent.pretraining import behaviours_between

FIRST, LAST = date(2017, 3, 1), date(2017, 3, 2)


def test_it_holds_searches_and_items_and_no_hint() -> None:
    table, profiles = behaviours_between(FIRST, LAST, 17)
    days = [landed(day, IntentConfig(), 17, None) for day in (FIRST, LAST)]
    assert table["kind"].value_counts().to_dict() == {
        "search": sum(len(log["searches"]) for log in days),
        "item_click": sum(len(log["item_clicks"]) for log in days),
    }
    assert set(table["time"].dt.date) == {FIRST, LAST}
    assert set(table["user_id"]) <= set(profiles)
    assert set(profiles) == set(pd.concat([log["users"] for log in days])["user_id"])
    assert "" in profiles.values()
    assert any(" " in words for words in profiles.values())
    # Items go by the most common phrase of their need, not by a title of the catalogue.
    common = {phrasings[0] for phrasings in load_phrasings()}
    assert set(table[table["kind"] == "item_click"]["content"]) <= common
