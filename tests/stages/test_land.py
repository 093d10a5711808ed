"""A bad log: what is quarantined is counted and kept, and too much of it stops the day."""

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pandas as pd
import pytest
from small_release import DAY, EVE, impressions

from aigq_tasks.errors import AigqError
from aigq_tasks.logs.schema import empty
from aigq_tasks.pipeline.context import Context
from aigq_tasks.pipeline.given import Given
from aigq_tasks.pipeline.reading import need
from aigq_tasks.pipeline.stage import Output
from aigq_tasks.releases.landing import land, too_bad
from aigq_tasks.settings import LogSettings
from aigq_tasks.stages.land import LOGS, LandSlice, checked_log
from aigq_tasks.tracking.runs import Tracking

NOON = pd.Timestamp(DAY) + pd.Timedelta(hours=12)
BAD_SEARCHES = {
    "b1": {"query": 7},
    "b2": {"query": "<b>milk</b>"},
    "b3": {"query": "x'; drop table users; --"},
    "b4": {"query": "m" * 10_000_000},
    "b5": {"query": "mi\tlk"},
    "b6": {"time": NOON + timedelta(days=400)},
    "b7": {"time": NOON - timedelta(days=1)},
    "b8": {"time": "noon"},
    "s1": {"query": "an event for the second time"},
}
REASONS = {
    "control_character": 1,
    "duplicate": 1,
    "future": 1,
    "length": 1,
    "markup": 1,
    "other_day": 1,
    "sql": 1,
    "wrong_type": 2,
}


def searches(good: int = 3, bad: bool = True) -> pd.DataFrame:
    """`good` rows, then, if asked for, one that breaks each rule."""
    row = {"user_id": "ann", "time": NOON, "query": "milk"}
    rows = [row | {"event_id": f"s{n}"} for n in range(good)]
    rows += [row | {"event_id": name} | own for name, own in BAD_SEARCHES.items()] if bad else []
    return pd.DataFrame(rows).astype(object)


def late_clicks(*requests: str) -> pd.DataFrame:
    rows = [(request, 1, NOON) for request in requests]
    return pd.DataFrame(rows, columns=["request_id", "position", "click_time"])


def bad_log() -> dict[str, pd.DataFrame]:
    shown = impressions(DAY)
    shown.loc[0, "propensity"] = 0.0
    clicked = pd.DataFrame({"event_id": ["s0", "b1"], "user_id": "ann", "time": NOON})
    return {
        "searches": searches(),
        "search_clicks": clicked.assign(item_id="1"),
        "hint_impressions": shown,
        "late_clicks": late_clicks("r-ann-0", "r-nobody-0"),
    }


def test_every_row_is_stored_once_and_counted_by_reason() -> None:
    landed = bad_log()
    more = pd.DataFrame({"anything": [1]})
    done = checked_log(landed | {"more": more}, DAY, impressions(EVE))
    assert done.records["quarantine.json"] == {
        "hint_impressions": {"propensity": 1},
        "late_clicks": {"no_impression": 1},
        # A click on the results of a search that is quarantined itself.
        "search_clicks": {"no_search": 1},
        "searches": REASONS,
    }
    for name, rows in landed.items():
        good, bad = done.tables[name], done.tables[f"quarantine/{name}"]
        assert len(good) + len(bad) == len(rows)
        assert (done.metrics[f"rows_{name}"], done.metrics[f"quarantined_{name}"]) == (
            len(good),
            len(bad),
        )
    for reason, count in REASONS.items():
        assert done.metrics[f"quarantined_searches/{reason}"] == count
    texts = done.tables["quarantine/searches"].set_index("event_id")["query"]
    assert texts["b4"] == "m" * 10_000_000
    assert texts["b2"] == "<b>milk</b>"
    assert done.tables["more"] is more  # what the contract does not name is stored as it is
    # The click rate is that of the good hints: one of the three clicked ones is quarantined.
    assert (done.metrics["clicks"], done.metrics["ctr"]) == (2.0, 0.25)


def test_a_late_click_may_be_of_any_earlier_hint() -> None:
    landed = {"late_clicks": late_clicks("r-bob-0")}
    assert checked_log(landed, DAY, impressions(EVE)).metrics["rows_late_clicks"] == 1
    nothing = checked_log(landed, DAY, empty("hint_impressions"))
    assert nothing.metrics["quarantined_late_clicks/no_impression"] == 1


def test_a_day_without_good_hints_has_no_click_rate() -> None:
    landed = {"hint_impressions": impressions(DAY).assign(propensity=2.0)}
    assert "ctr" not in checked_log(landed, DAY, impressions(EVE)).metrics


@pytest.mark.parametrize(
    ("good", "bad", "limits", "found"),
    [
        (90, 10, LogSettings(max_bad_share=0.1, few_bad=0), {}),
        (89, 11, LogSettings(max_bad_share=0.1, few_bad=0), {"searches": 0.11}),
        (0, 5, LogSettings(max_bad_share=0.1, few_bad=5), {}),
        (0, 6, LogSettings(max_bad_share=0.1, few_bad=5), {"searches": 1.0}),
        (0, 0, LogSettings(max_bad_share=0, few_bad=0), {}),
    ],
)
def test_when_a_table_is_too_bad(
    good: int, bad: int, limits: LogSettings, found: dict[str, float]
) -> None:
    metrics = {"rows_searches": float(good), "quarantined_searches": float(bad)}
    assert too_bad(metrics | {"clicks": 1.0, "who": "w"}, limits) == pytest.approx(found)


def bad_day(given: Given, settings: LandSlice, day: date) -> Output:
    return checked_log({"searches": searches()}, day, impressions(EVE))


BAD_DAY = replace(LOGS, reads=(), compute=bad_day)


@pytest.mark.integration
def test_too_bad_a_day_is_stored_and_fails_until_it_may_pass(settings: Any) -> None:
    def context(**limits: float) -> Context:
        return Context.open(settings.model_copy(update={"logs": LogSettings(**limits)}))

    strict = context(few_bad=8)
    for _ in range(2):  # the second time it is up to date, and no better
        with pytest.raises(AigqError) as caught:
            land(strict, DAY, BAD_DAY)
        line = str(caught.value)
        assert line.startswith("too many bad rows in the log of 2017-11-06: searches 75.0% (")
        assert "1 duplicate, 1 future" in line
        assert len(line.splitlines()) == 1
    stored = need(strict, "logs", DAY)
    assert stored.revision == 1
    assert len(strict.store.get_blob(stored.outputs["quarantine/searches.parquet"].digest)) > 0
    source = strict.source
    tracking = Tracking(
        settings.mlflow.url,
        settings.mlflow.experiment,
        settings.s3.bucket,
        source.label,
        source.days()[0],
    )
    assert tracking.has(stored)
    from mlflow import MlflowClient

    client = MlflowClient(settings.mlflow.url)
    experiment = client.get_experiment_by_name(settings.mlflow.experiment)
    (run,) = client.search_runs([experiment.experiment_id], f"tags.manifest = '{stored.digest}'")
    assert run.data.metrics["quarantined_searches"] == 9.0
    assert run.data.metrics["quarantined_searches/sql"] == 1.0
    assert land(context(few_bad=9), DAY, BAD_DAY) == stored
