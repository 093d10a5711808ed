from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest
from small_day import APPLES, EGGS, FUJI, NOON, made

from aigq_tasks.errors import AigqError
from aigq_tasks.sources.base import Served
from aigq_tasks.sources.market.intent import rounds
from aigq_tasks.sources.market.intent.events import events_of
from aigq_tasks.sources.market.intent.landing import hint_orders
from aigq_tasks.sources.market.intent.rounds import replay, turns_of_steps
from aigq_tasks.sources.market.intent.sessions import Day

SEED = 17


def page_of(requests: pd.DataFrame, queries: list[str]) -> Served:
    hints = pd.DataFrame({"position": range(1, len(queries) + 1), "query": queries})
    shown = requests.merge(hints, "cross").assign(
        source="popularity", rank_score=0.5, propensity=0.25, explored=False, release="one"
    )
    ranked = requests[["request_id", "user_id"]].merge(
        hints.rename(columns={"position": "rank"}), "cross"
    )
    return Served(
        shown,
        ranked.assign(source="popularity", rank_score=0.5),
        shown[["request_id", "position"]].assign(seen=shown["request_id"].str.len()),
    )


def replayed(day: Day, queries: list[str]) -> tuple[rounds.Replayed, list[Mapping[str, Any]]]:
    """The replay with the same page for everybody, and what was known in each round."""
    asked: list[Mapping[str, Any]] = []

    def serve(requests: pd.DataFrame, so_far: Mapping[str, pd.DataFrame]) -> Served:
        asked.append({"requests": requests, **so_far})
        return page_of(requests, queries)

    return replay(events_of(day, SEED), serve, SEED), asked


def test_each_round_knows_the_household_up_to_its_request() -> None:
    day = made([APPLES, FUJI, EGGS], [0, 2], sessions=2)
    done, asked = replayed(day, ["zzz"])
    # Steps at 12:01, 12:02, 12:03; requests at 12:00 and, before the third step, at 12:02:50.
    assert turns_of_steps(events_of(day, SEED)).tolist() == [1, 1, 2, 1, 1, 2]
    assert [list(one["requests"]["request_id"]) for one in asked] == [
        ["r4-0", "r8-0"],
        ["r4-2", "r8-2"],
    ]
    assert list(asked[0]["requests"].columns) == ["request_id", "user_id", "time"]
    assert len(asked[0]["searches"]) == 0
    assert len(asked[0]["hint_impressions"]) == 0
    assert sorted(asked[1]["searches"]["event_id"]) == ["s4-0", "s4-1", "s8-0", "s8-1"]
    assert len(asked[1]["hint_impressions"]) == 2
    assert done.impressions["request_id"].tolist() == ["r4-0", "r8-0", "r4-2", "r8-2"]
    assert done.rankings["request_id"].tolist() == ["r4-0", "r8-0", "r4-2", "r8-2"]


def test_a_household_without_further_requests_is_known_to_the_end() -> None:
    day = made([APPLES, FUJI, EGGS], [0, 2], sessions=2)
    kept = day.requests[~((day.requests["household_id"] == 2) & (day.requests["turn"] == 1))]
    _, asked = replayed(Day(day.sessions, day.steps, kept.reset_index(drop=True)), ["zzz"])
    assert sorted(asked[1]["searches"]["event_id"]) == ["s4-0", "s4-1", "s8-0", "s8-1", "s8-2"]


def test_a_click_replaces_the_search() -> None:
    day = made([FUJI, APPLES], [0, 1], sessions=400)
    done, asked = replayed(day, ["braeburn apples"])
    first = done.impressions[done.impressions["request_id"].str.endswith("-0")]
    clicked = first["clicked"].to_numpy()
    # One step ahead, in own words: 0.004 + 0.9 · 0.759052.
    assert clicked.mean() == pytest.approx(0.687, abs=0.1)
    spared = done.met.reshape(400, 2)
    assert not spared[:, 0].any()
    seconds = (done.impressions["click_time"] - done.impressions["time"]).dt.total_seconds()
    assert seconds.dropna().between(1, 8).all()
    left = events_of(day, SEED).left(done.met, done.views)
    assert len(left["searches"]) == 800 - done.met.sum()
    # What is found by a search is found by the hint: an item click takes the place of the search's.
    whole = events_of(day, SEED).tables
    assert len(left["search_clicks"]) + len(left["item_clicks"]) == len(whole["search_clicks"])
    assert left["item_clicks"]["event_id"].str.fullmatch(r"c\d+-1").all()
    known = asked[1]["hint_impressions"]
    assert known["clicked"].sum() == clicked.sum()
    assert len(asked[1]["item_clicks"]) > 0
    # A clicked hint whose need is bought counts with what was paid.
    orders = hint_orders(day, done.by)
    assert len(orders) == done.met.sum()
    assert (orders["value"] == 2.5).all()
    assert orders["order_id"].iloc[0] == "o" + orders["request_id"].iloc[0][1:-2]


def test_who_looks_around_comes_back_to_some_hints_later() -> None:
    day = made([APPLES], [0], sessions=600, looking=True, start=NOON + np.timedelta64(6, "h"))
    done, _ = replayed(day, ["braeburn apples"])
    all_clicks = int(done.impressions["clicked"].sum()) + len(done.late)
    assert all_clicks / 600 == pytest.approx(0.904, abs=0.05)
    # LOOKED_AGAIN = 0.4 of the clicks that meet a need come later; LogN(ln 12 h, 1) after 18:00
    # passes midnight with P(Z > ln(6 / 12)) = 0.756.
    soon = done.met.sum()
    assert soon / all_clicks == pytest.approx(0.6, abs=0.08)
    assert len(done.late) / (all_clicks - soon) == pytest.approx(0.756, abs=0.12)
    assert (done.late["click_time"] >= np.datetime64("2017-11-07")).all()
    assert hint_orders(day, done.by).empty
    # What is clicked later spares no search now.
    assert len(events_of(day, SEED).left(done.met, done.views)["searches"]) == 600 - soon


def test_a_day_without_late_clicks_has_an_empty_table() -> None:
    done, _ = replayed(made([APPLES], [0]), ["zzz"])
    assert done.late.empty
    assert list(done.late.columns) == ["request_id", "position", "click_time"]


def test_a_hint_without_features_is_a_broken_release() -> None:
    def broken(requests: pd.DataFrame, so_far: Any) -> Served:
        served = page_of(requests, ["zzz"])
        return Served(served.exposures, served.rankings, served.features.iloc[1:])

    with pytest.raises(AigqError, match="hint at position 1 of request r4-0 has no features"):
        replay(events_of(made([APPLES], [0]), SEED), broken, SEED)
