from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from aigq_tasks.errors import AigqError, OutsideTheLog
from aigq_tasks.logs.validation import check_rows
from aigq_tasks.sources.base import Served, Source
from aigq_tasks.sources.market.intent import oracle, visits
from aigq_tasks.sources.market.intent.config import IntentConfig
from aigq_tasks.sources.market.intent.items import items_of
from aigq_tasks.sources.market.intent.lexicon import load_phrasings
from aigq_tasks.sources.market.intent.reading import interpret
from aigq_tasks.sources.market.intent.sessions import day_of
from aigq_tasks.sources.market.intent.source import IntentSource

DAY = date(2017, 11, 6)
SEED = 17
CONFIG = IntentConfig(households=120)
SOURCE = IntentSource(CONFIG, SEED)
SLOTS = 5


def serve(requests: pd.DataFrame, so_far: Mapping[str, pd.DataFrame]) -> Served:
    """Hints of one who knows: what the user will type that day, the last first. The features of a
    hint are its request's step."""
    day = day_of(DAY, CONFIG, SEED)
    typed = day.steps[day.steps["typed"]]
    users = day.sessions["user_id"].to_numpy()[typed["session"].to_numpy()]
    of_users = (
        typed["today"].groupby(users).agg(lambda texts: [*texts.iloc[::-1], *"abcde"][:SLOTS])
    )
    lists = [of_users.get(user, list("abcde")) for user in requests["user_id"]]
    hints = pd.DataFrame({"position": range(1, SLOTS + 1)})
    shown = requests.merge(hints, "cross").assign(
        query=np.concatenate(lists),
        source="popularity",
        rank_score=0.5,
        propensity=0.25,
        explored=False,
        release="one",
    )
    number = shown["request_id"].str.split("-").str[1].astype(np.float32)
    features = shown[["request_id", "position"]].assign(number=number)
    columns = ["request_id", "user_id", "position", "query", "source", "rank_score"]
    rankings = shown[columns].rename(columns={"position": "rank"})
    return Served(shown, rankings, features)


@pytest.fixture(scope="module")
def landed() -> dict[str, pd.DataFrame]:
    return SOURCE.land(DAY, serve)


def test_what_it_is_costs_nothing_to_say(monkeypatch: pytest.MonkeyPatch) -> None:
    def read() -> Any:
        raise AssertionError("the year was read")

    monkeypatch.setattr(visits, "load_catalogue", read)
    source: Source = IntentSource(IntentConfig(households=7), SEED)
    assert source.label == "replayed-market with intent (simulated)"
    assert source.truth_ahead == 0
    assert source.days() == (date(2017, 1, 1), date(2017, 12, 25))
    assert len(source.digest(DAY)) == 64
    assert source.truth(DAY) is not None
    assert source.people(["h12", "h7w2497", "h7w2498"]) == ["h12", "h7", "h7"]


def test_the_digest_is_of_all_that_a_day_is_made_of() -> None:
    others = [
        IntentSource(CONFIG, SEED + 1),
        IntentSource(CONFIG.model_copy(update={"households": 61}), SEED),
        IntentSource(CONFIG.model_copy(update={"intent": "strong"}), SEED),
        IntentSource(CONFIG.model_copy(update={"cold_share": 0.0}), SEED),
    ]
    digests = {SOURCE.digest(DAY), *(other.digest(DAY) for other in others)}
    assert len(digests) == 5
    assert IntentSource(IntentConfig(households=120), SEED).digest(DAY) == SOURCE.digest(DAY)
    assert SOURCE.digest(DAY + timedelta(days=1)) == SOURCE.digest(DAY)


def test_without_serve_there_are_no_hints() -> None:
    tables = SOURCE.land(DAY, None)
    log = {"searches", "item_clicks", "search_clicks", "orders"}
    assert set(tables) == {"users", "items"} | log
    day = day_of(DAY, CONFIG, SEED)
    typed = day.steps["typed"]
    assert sorted(tables["searches"]["query"]) == sorted(day.steps.loc[typed, "today"])
    assert len(tables["item_clicks"]) == (~typed).sum()
    found = len(tables["search_clicks"]) / len(tables["searches"])
    assert found == pytest.approx(0.7, abs=4 * np.sqrt(0.21 / len(tables["searches"])))
    named = {item for name in log - {"searches"} for item in tables[name]["item_id"]}
    pd.testing.assert_frame_equal(tables["items"], items_of(named))
    assert set(tables["users"]["user_id"]) == set(day.sessions["user_id"])


def test_orders_are_what_the_visits_bought() -> None:
    orders = SOURCE.land(DAY, None)["orders"]
    for visit in visits.visits_between(DAY, DAY, CONFIG, SEED):
        own = orders[orders["order_id"] == f"o{4 * visit.basket}"].set_index("item_id")["value"]
        paid = dict(zip(visit.products.astype(str), visit.paid_values, strict=True))
        assert {item: own[item] for item in paid} == paid
        assert len(own) >= len(paid)  # and some of what curiosity led to


def test_every_row_keeps_the_rules_of_the_log() -> None:
    source = IntentSource(IntentConfig(households=600), SEED)
    tables = source.land(DAY, serve)
    late, features = tables.pop("late_next_day"), tables.pop("impression_features")
    bought = tables.pop("hint_orders")
    shown = tables["hint_impressions"]
    for name, rows in tables.items():
        known = tables["searches"] if name == "search_clicks" else None
        checked = check_rows(name, rows, DAY, known)
        assert (checked.reasons, len(checked.good)) == ({}, len(rows))
        assert len(rows) > 0
    assert check_rows("late_clicks", late, DAY + timedelta(days=1), known=shown).reasons == {}
    assert len(features) == len(shown)
    assert len(bought.merge(tables["orders"], on=["order_id", "item_id", "value"])) == len(bought)


def test_with_serve_the_days_requests_are_answered(landed: dict[str, pd.DataFrame]) -> None:
    asked: list[pd.DataFrame] = []
    tables = SOURCE.land(
        DAY, lambda requests, so_far: asked.append(requests) or serve(requests, so_far)
    )
    day = day_of(DAY, CONFIG, SEED)
    # Whoever serves is not told which visit a request is of, nor what comes.
    assert all(list(seen.columns) == ["request_id", "user_id", "time"] for seen in asked)
    assert len(asked) == day.requests["turn"].max() + 1
    columns = ["request_id", "user_id", "time"]
    seen = pd.concat(asked).sort_values(["time", "request_id"], ignore_index=True)
    pd.testing.assert_frame_equal(seen, day.requests[columns])
    for name, rows in tables.items():  # the same day twice is the same
        pd.testing.assert_frame_equal(rows, landed[name])
    shown = landed["hint_impressions"]
    assert len(shown) == len(landed["hint_rankings"]) == SLOTS * len(day.requests)
    assert shown["clicked"].mean() > 0.05
    without = SOURCE.land(DAY, None)
    assert len(landed["searches"]) < len(without["searches"])
    assert set(landed["searches"]["event_id"]) < set(without["searches"]["event_id"])
    pd.testing.assert_frame_equal(landed["orders"], without["orders"])


def test_features_stand_in_the_order_of_the_impressions(landed: dict[str, pd.DataFrame]) -> None:
    def shuffled(requests: pd.DataFrame, so_far: Mapping[str, pd.DataFrame]) -> Served:
        served = serve(requests, so_far)
        rows = served.exposures.sample(frac=1.0, random_state=1).index
        return Served(served.exposures.loc[rows], served.rankings, served.features.loc[rows])

    tables = SOURCE.land(DAY, shuffled)
    shown, features = tables["hint_impressions"], tables["impression_features"]
    pd.testing.assert_frame_equal(shown, landed["hint_impressions"])
    pd.testing.assert_frame_equal(features, landed["impression_features"])
    keys = ["request_id", "position"]
    pd.testing.assert_frame_equal(features[keys], shown[keys])
    number = shown["request_id"].str.split("-").str[1].astype(float)
    assert features["number"].tolist() == number.tolist()
    assert features.dtypes.astype(str).tolist() == ["str", "int64", "float32"]


def test_there_is_no_log_beyond_the_markets_days() -> None:
    for day in (date(2016, 12, 31), date(2017, 12, 26)):
        with pytest.raises(OutsideTheLog, match=r"2017-01-01\.\.2017-12-25"):
            SOURCE.land(day, None)
    for day in (date(2017, 1, 1), date(2017, 12, 25)):
        assert len(SOURCE.land(day, serve)["searches"]) > 0


def test_the_truth_is_of_what_is_typed_on_the_day() -> None:
    day = day_of(DAY, CONFIG, SEED)
    typed = day.steps[day.steps["typed"]]
    users = day.sessions["user_id"].to_numpy()[typed["session"].to_numpy()].tolist()
    met = SOURCE.truth(DAY)(users, typed["today"].tolist())
    # What is searched meets its need for sure, whatever else it names.
    assert [of[str(need)] for of, need in zip(met, typed["need"], strict=True)] == [1.0] * len(met)


def test_the_truth_by_hand() -> None:
    apples, fuji = (interpret(text)[0] for text in ("braeburn apples", "fuji apples"))
    own = oracle.NeedsOfDay({"ann": {apples: (("braeburn apple", "apples braeburn"),)}, "bob": {}})
    queries = ["braeburn apple", "braeburn apples", "bag of braeburn apples", "fuji apples", "zzz"]
    met = oracle.needs_met(["ann"] * 5, queries, own)
    named = [{str(apples): 1.0}, {str(apples): 0.8}, {str(apples): 0.5}, {str(fuji): 0.0}]
    assert met == [*named, {}]  # the last names nothing
    assert load_phrasings()[apples][0] == "braeburn apples"
    # Bob came and typed nothing; of a stranger nothing is known.
    bob, stranger = oracle.needs_met(["bob", "nobody"], ["fuji apples"] * 2, own)
    assert bob == {str(fuji): 0.0}
    assert np.isnan(stranger[str(fuji)])
    assert oracle.needs_met([], [], own) == []


def test_the_truth_reaches_beyond_the_last_day_that_is_landed() -> None:
    users = list(oracle.needs_of_day(date(2017, 12, 31), CONFIG, SEED).of_users)
    met = SOURCE.truth(date(2017, 12, 31))([*users, "nobody"], ["milk"] * (len(users) + 1))
    unknown = [np.isnan([*of.values()]).any() for of in met]
    assert unknown == [False] * len(users) + [True]


def test_a_days_needs_are_put_together_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[date] = []

    def counted(day: date, *rest: Any) -> Any:
        made.append(day)
        return day_of(day, *rest)

    monkeypatch.setattr(oracle, "day_of", counted)
    oracle.needs_of_day.cache_clear()
    for _ in range(2):
        SOURCE.truth(DAY)(["h1"], ["milk"])
    assert made == [DAY]


def test_what_is_broken_in_a_release_ends_the_day() -> None:
    def broken(requests: pd.DataFrame, so_far: Mapping[str, pd.DataFrame]) -> Served:
        served = serve(requests, so_far)
        return Served(served.exposures, served.rankings, served.features.iloc[1:])

    with pytest.raises(AigqError, match=r"hint at position 1 of request r.* has no features"):
        SOURCE.land(DAY, broken)
