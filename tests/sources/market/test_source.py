from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from aigq_tasks.errors import AigqError, OutsideTheLog
from aigq_tasks.logs.validation import check_rows
from aigq_tasks.sources.base import Served, Source
from aigq_tasks.sources.market import oracle, replay, visits
from aigq_tasks.sources.market.config import LOOKAHEAD_DAYS, MarketConfig
from aigq_tasks.sources.market.items import items_of
from aigq_tasks.sources.market.source import MarketSource
from aigq_tasks.sources.market.visits import (
    own_phrases,
    requests_on,
    search_clicks,
    searches_and_clicks,
    visits_between,
)

DAY = date(2017, 11, 6)
SEED = 17
CONFIG = MarketConfig(households=60)
SOURCE = MarketSource(CONFIG, SEED)
QUERIES = ("braeburn apples", "milk", "zzz", "white bread", "bananas")


def serve(requests: pd.DataFrame, so_far: Any = None) -> Served:
    """The same five hints for everybody; the features of a hint are its request's number."""
    hints = pd.DataFrame({"position": range(1, 6), "query": QUERIES})
    shown = requests.merge(hints, "cross").assign(
        source="popularity", rank_score=0.5, propensity=0.25, explored=False, release="one"
    )
    number = np.repeat(np.arange(len(requests), dtype=np.float32), 5)
    features = shown[["request_id", "position"]].assign(number=number)
    places = hints.rename(columns={"position": "rank"})
    rankings = (
        requests[["request_id", "user_id"]]
        .merge(places, "cross")
        .assign(source="popularity", rank_score=0.5)
    )
    return Served(shown, rankings, features)


@pytest.fixture(scope="module")
def landed() -> dict[str, pd.DataFrame]:
    return SOURCE.land(DAY, serve)


def test_what_it_is_costs_nothing_to_say(monkeypatch: pytest.MonkeyPatch) -> None:
    def read() -> Any:
        raise AssertionError("the year was read")

    monkeypatch.setattr(visits, "load_catalogue", read)
    source: Source = MarketSource(MarketConfig(households=7), SEED)
    assert source.label == "replayed-market (simulated)"
    assert source.truth_ahead == LOOKAHEAD_DAYS == 2
    assert source.days() == (date(2017, 1, 1), date(2017, 12, 29))
    assert len(source.digest(DAY)) == 64
    assert source.truth(DAY) is not None


def test_the_digest_is_of_all_that_a_day_is_made_of() -> None:
    others = [
        MarketSource(CONFIG, SEED + 1),
        MarketSource(CONFIG.model_copy(update={"households": 61}), SEED),
        MarketSource(CONFIG.model_copy(update={"requests_mean": 7.0}), SEED),
        MarketSource(CONFIG.model_copy(update={"cold_share": 0.0}), SEED),
    ]
    digests = {SOURCE.digest(DAY), *(other.digest(DAY) for other in others)}
    assert len(digests) == 5
    assert MarketSource(MarketConfig(households=60), SEED).digest(DAY) == SOURCE.digest(DAY)
    assert SOURCE.digest(DAY + timedelta(days=1)) == SOURCE.digest(DAY)


def test_without_serve_there_are_no_hints() -> None:
    tables = SOURCE.land(DAY, None)
    assert set(tables) == {"users", "items", "searches", "item_clicks", "search_clicks"}
    today = visits_between(DAY, DAY, CONFIG, SEED)
    searches, clicks = searches_and_clicks(today, CONFIG, SEED)
    found = search_clicks(today, CONFIG, SEED)
    pd.testing.assert_frame_equal(tables["searches"], searches)
    pd.testing.assert_frame_equal(tables["item_clicks"], clicks)
    pd.testing.assert_frame_equal(tables["search_clicks"], found)
    named = items_of({*clicks["item_id"], *found["item_id"]})
    pd.testing.assert_frame_equal(tables["items"], named)
    assert tables["users"]["user_id"].tolist() == sorted({*searches["user_id"], *clicks["user_id"]})


def test_every_row_keeps_the_rules_of_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "CLICK_DELAY_MINUTES", 180.0)  # else hardly one is late
    tables = SOURCE.land(DAY, serve)
    late, features = tables.pop("late_next_day"), tables.pop("impression_features")
    shown = tables["hint_impressions"]
    for name, rows in tables.items():
        checked = check_rows(name, rows, DAY)
        assert (checked.reasons, len(checked.good)) == ({}, len(rows))
        assert len(rows) > 0
    checked = check_rows("late_clicks", late, DAY + timedelta(days=1), known=shown)
    assert (checked.reasons, len(checked.good)) == ({}, len(late))
    assert len(late) > 0
    assert len(features) == len(shown)


def test_with_serve_the_days_requests_are_answered(landed: dict[str, pd.DataFrame]) -> None:
    asked: list[pd.DataFrame] = []
    tables = SOURCE.land(DAY, lambda requests, so_far: asked.append(requests) or serve(requests))
    (seen,) = asked
    # Whoever serves is not told which visit a request precedes, nor when that will be.
    assert list(seen.columns) == ["request_id", "user_id", "time"]
    requests = requests_on(DAY, CONFIG, SEED)
    pd.testing.assert_frame_equal(seen, requests[list(seen.columns)])
    for name, rows in tables.items():  # the same day twice is the same
        pd.testing.assert_frame_equal(rows, landed[name])

    shown = landed["hint_impressions"]
    assert len(shown) == 5 * len(requests)
    assert shown["clicked"].any()
    assert shown.loc[shown["query"] == "zzz", "clicked"].mean() < 0.02
    pd.testing.assert_frame_equal(landed["hint_rankings"], serve(seen).rankings)
    # Shoppers who come tomorrow are users of today: they have looked at the home page.
    only_looked = set(requests["user_id"]) - set(landed["searches"]["user_id"])
    assert only_looked
    assert set(landed["users"]["user_id"]) >= only_looked
    without = SOURCE.land(DAY, None)
    for name in ("searches", "item_clicks", "search_clicks", "items"):
        pd.testing.assert_frame_equal(landed[name], without[name])


def test_features_stand_in_the_order_of_the_impressions(landed: dict[str, pd.DataFrame]) -> None:
    def shuffled(requests: pd.DataFrame, so_far: Any) -> Served:
        served = serve(requests)
        rows = served.exposures.sample(frac=1.0, random_state=1).index
        return Served(served.exposures.loc[rows], served.rankings, served.features.loc[rows])

    tables = SOURCE.land(DAY, shuffled)
    shown, features = tables["hint_impressions"], tables["impression_features"]
    pd.testing.assert_frame_equal(shown, landed["hint_impressions"])
    pd.testing.assert_frame_equal(features, landed["impression_features"])
    keys = ["request_id", "position"]
    pd.testing.assert_frame_equal(features[keys], shown[keys])
    number = {request: n for n, request in enumerate(shown["request_id"].unique())}
    assert features["number"].tolist() == [number[request] for request in shown["request_id"]]
    assert features.dtypes.astype(str).tolist() == ["str", "int64", "float32"]


def test_a_hint_without_features_is_a_broken_release() -> None:
    def broken(requests: pd.DataFrame, so_far: Any) -> Served:
        served = serve(requests)
        return Served(served.exposures, served.rankings, served.features.iloc[1:])

    with pytest.raises(AigqError, match=r"hint at position 1 of request r.* has no features"):
        SOURCE.land(DAY, broken)


def test_there_is_no_log_beyond_the_markets_days() -> None:
    for day in (date(2016, 12, 31), date(2017, 12, 30)):
        with pytest.raises(OutsideTheLog, match=r"2017-01-01\.\.2017-12-29"):
            SOURCE.land(day, None)
    for day in (date(2017, 1, 1), date(2017, 12, 29)):
        assert len(SOURCE.land(day, serve)["hint_impressions"]) > 0


def test_the_truth_is_known_of_those_who_come_on_the_day() -> None:
    config = MarketConfig(households=300, cold_share=0.0)
    truth = MarketSource(config, SEED).truth(DAY)
    needs = visits_between(DAY, DAY, config, SEED).needs
    visits = needs.groupby("household_id")["visit_id"].nunique()
    twice = int(visits.index[visits > 1][0])
    own = needs.loc[needs["household_id"] == twice, "need"].unique()
    # Every need of both visits is met by the household's own words for it.
    words = own_phrases(np.full(len(own), twice), own, SEED)
    for need, met in zip(own, truth([f"h{twice}"] * len(own), words), strict=True):
        assert met[str(need)] == 1.0
    (stranger,) = truth(["nobody"], ["milk"])
    assert stranger
    assert np.isnan([*stranger.values()]).all()
    assert truth([], []) == []


def test_the_truth_reaches_beyond_the_last_day_that_is_landed() -> None:
    # Training logs ask about the two days after a day, too.
    for day in (date(2017, 12, 31), date(2018, 1, 2)):
        users = [*oracle.baskets_of_users(day, CONFIG, SEED), "nobody"]
        answers = SOURCE.truth(day)(users, ["milk"] * len(users))
        unknown = [bool(np.isnan([*met.values()]).any()) for met in answers]
        assert unknown == [False] * (len(users) - 1) + [True]


def test_a_days_baskets_are_put_together_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[date] = []

    def counted(first: date, *rest: Any) -> visits.Visits:
        read.append(first)
        return visits_between(first, *rest)

    monkeypatch.setattr(oracle, "visits_between", counted)
    oracle.baskets_of_users.cache_clear()
    for _ in range(2):
        truth = MarketSource(CONFIG, SEED).truth(DAY)
        truth(["h1"], ["milk"])
    assert read == [DAY]
