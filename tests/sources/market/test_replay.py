from datetime import date

import numpy as np
import pandas as pd
import pytest

from aigq_tasks.logs.validation import check_rows
from aigq_tasks.sources.market.clicks import Basket, interpret
from aigq_tasks.sources.market.config import MarketConfig
from aigq_tasks.sources.market.replay import Replay, baskets_for, replay_clicks
from aigq_tasks.sources.market.visits import own_phrases, requests_on, visits_between

DAY = date(2017, 11, 6)
SEED = 17
N = 1500
(BRAEBURN,) = interpret("braeburn apples")[0]
HOUSEHOLD = next(
    h
    for h in range(1, 99)
    if own_phrases(np.array([h]), np.array([BRAEBURN]), SEED) == ["braeburn apples"]
)
HIT, MISS = "braeburn apples", "zzz"


def requests_at(time: str, hours: float = 0.0, nth: int = 0) -> pd.DataFrame:
    """One request of each of N visits, `hours` before the visit."""
    moment = pd.Timestamp(time).as_unit("us")
    return pd.DataFrame(
        {
            "request_id": [f"r{visit}-{nth}" for visit in range(N)],
            "visit_id": range(N),
            "user_id": f"h{HOUSEHOLD}",
            "time": moment,
            "visit_start": (moment + pd.Timedelta(hours=hours)).as_unit("us"),
        }
    )


def exposures(requests: pd.DataFrame, queries: tuple[str, ...]) -> pd.DataFrame:
    """What production would log: these queries in positions 1, 2..., in every request."""
    shown = [
        requests[["request_id", "user_id", "time"]].assign(position=position, query=query)
        for position, query in enumerate(queries, start=1)
    ]
    return pd.concat(shown, ignore_index=True).assign(
        source="popularity", rank_score=0.5, propensity=0.25, explored=False, release="one"
    )


def replay(
    queries: tuple[str, ...], time: str = "2017-11-06T10:00", hours: float = 0.0, seed: int = SEED
) -> Replay:
    requests = requests_at(time, hours)
    baskets = {visit: Basket.of(HOUSEHOLD, [BRAEBURN]) for visit in range(N)}
    return replay_clicks(exposures(requests, queries), requests, baskets, seed)


def rate(rows: pd.DataFrame) -> float:
    return float(rows["clicked"].mean())


def test_clicks_happen_as_often_as_their_probability_says() -> None:
    rows = replay((HIT, MISS, HIT)).impressions
    by_position = {position: part for position, part in rows.groupby("position")}
    assert rate(by_position[1]) == pytest.approx(0.706, abs=4 * np.sqrt(0.706 * 0.294 / N))
    assert rate(by_position[2]) == pytest.approx(0.72 * 0.006, abs=4 * np.sqrt(0.0043 / N))
    # Position 3 shows the same need: 0.52 · 0.706 = 0.3671 where position 1 was not clicked,
    # 0.52 · (0.006 + 0.7 · 0.15) = 0.0577 where it was.
    met = by_position[1].set_index("request_id")["clicked"]
    third = by_position[3].set_index("request_id")["clicked"]
    error = 4 * np.sqrt(0.3671 * 0.6329 / (0.294 * N))
    assert third[~met].mean() == pytest.approx(0.3671, abs=error)
    assert third[met].mean() == pytest.approx(0.0577, abs=4 * np.sqrt(0.0577 * 0.942 / (0.706 * N)))


def test_interest_fades_with_the_hours_until_the_visit() -> None:
    # 36 hours before: 0.006 + 0.7 / e = 0.2635
    rows = replay((HIT,), hours=36.0).impressions
    assert rate(rows) == pytest.approx(0.2635, abs=4 * np.sqrt(0.2635 * 0.7365 / N))


def test_a_need_met_in_an_earlier_request_appeals_less_in_a_later_one() -> None:
    first, second = requests_at("2017-11-06T10:00"), requests_at("2017-11-06T11:00", nth=1)
    requests = pd.concat([second, first], ignore_index=True)  # the table's order is not the time's
    baskets = {visit: Basket.of(HOUSEHOLD, [BRAEBURN]) for visit in range(N)}
    rows = replay_clicks(exposures(requests, (HIT,)), requests, baskets, SEED).impressions
    met = rows["clicked"][rows["request_id"].str.endswith("-0")].to_numpy()
    again = rows["clicked"][rows["request_id"].str.endswith("-1")].to_numpy()
    assert again[~met].mean() == pytest.approx(0.706, abs=4 * np.sqrt(0.208 / (0.294 * N)))
    # 0.006 + 0.7 · 0.15 = 0.111
    assert again[met].mean() == pytest.approx(0.111, abs=4 * np.sqrt(0.0987 / (0.706 * N)))


def test_arms_share_their_random_numbers() -> None:
    good, bad = replay((HIT,)).impressions, replay((MISS,)).impressions
    # The draw of a slot is one number: what a poor hint gets clicked with, a good one does too.
    assert bad["clicked"].sum() > 0
    assert good["clicked"][bad["clicked"]].all()
    again = replay((HIT,)).impressions
    pd.testing.assert_frame_equal(good, again)
    assert not replay((HIT,), seed=SEED + 1).impressions["clicked"].equals(good["clicked"])


def test_a_request_does_not_depend_on_the_others_of_the_day() -> None:
    requests = requests_at("2017-11-06T10:00")
    baskets = {visit: Basket.of(HOUSEHOLD, [BRAEBURN]) for visit in range(N)}
    shown = exposures(requests, (HIT, MISS, HIT))
    full = replay_clicks(shown, requests, baskets, SEED).impressions
    some = shown[shown["request_id"].isin(requests["request_id"][::7])].sample(
        frac=1.0, random_state=1
    )
    part = replay_clicks(some, requests, baskets, SEED).impressions
    same = full[full["request_id"].isin(part["request_id"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(part, same)


def test_clicks_after_midnight_are_not_known_at_the_end_of_the_day() -> None:
    noon = replay((HIT, MISS))
    night = replay((HIT, MISS), time="2017-11-06T23:57")
    midnight = pd.Timestamp("2017-11-07")
    assert len(noon.late) == 0
    keys = ["request_id", "position"]
    early = night.impressions[night.impressions["clicked"]]
    assert 0 < len(early) < len(early) + len(night.late)
    # Same draws, same clicks: the late ones are only split off.
    at_noon = noon.impressions[noon.impressions["clicked"]].set_index(keys)
    at_night = pd.concat([early[[*keys, "click_time"]], night.late]).set_index(keys)
    assert set(at_night.index) == set(at_noon.index)
    shift = pd.Timestamp("2017-11-06T23:57") - pd.Timestamp("2017-11-06T10:00")
    assert (at_night["click_time"].sort_index() - shift == at_noon["click_time"].sort_index()).all()
    assert (early["click_time"] < midnight).all()
    assert (night.late["click_time"] >= midnight).all()
    assert night.late["click_time"].is_monotonic_increasing
    # The delay is exponential with mean 20 minutes: exp(-3 / 20) = 0.861 come after 3 minutes.
    share = len(night.late) / len(at_night)
    assert share == pytest.approx(0.861, abs=4 * np.sqrt(0.861 * 0.139 / len(at_night)))


def test_the_replayed_tables_keep_the_rules_of_the_log() -> None:
    night = replay((HIT, MISS, HIT), time="2017-11-06T23:57")
    shown = check_rows("hint_impressions", night.impressions, DAY)
    late = check_rows("late_clicks", night.late, date(2017, 11, 7))
    assert shown.reasons == late.reasons == {}
    assert (len(shown.good), len(late.good)) == (3 * N, len(night.late))


def test_there_is_a_basket_for_every_request_of_the_day() -> None:
    config = MarketConfig(households=300)
    baskets = baskets_for(DAY, config, SEED)
    requests = requests_on(DAY, config, SEED)
    assert set(requests["visit_id"]) <= set(baskets)
    visits = visits_between(DAY, DAY, config, SEED)
    for visit, rows in visits.needs.groupby("visit_id"):
        assert baskets[visit].needs == frozenset(rows["need"])
        assert baskets[visit].household == rows["household_id"].iloc[0]
