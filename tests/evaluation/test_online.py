"""What an A/B test reads from its arms' logs, by hand."""

import numpy as np
import pandas as pd
import pytest

from aigq_tasks.errors import AigqError
from aigq_tasks.evaluation.online import (
    Change,
    change,
    headroom,
    paired,
    self_test,
    sources,
    swapped,
    user_days,
)
from aigq_tasks.logs.behaviours import with_late_clicks


def shown(*rows: tuple[str, str, str, str, bool]) -> pd.DataFrame:
    """request, user, time, query, clicked; three hints of a request come one after the other."""
    table = pd.DataFrame(rows, columns=["request_id", "user_id", "time", "query", "clicked"])
    table["time"] = pd.to_datetime(table["time"])
    table["position"] = table.groupby("request_id").cumcount() + 1
    table["click_time"] = table["time"].where(table["clicked"])
    return table


HINTS = shown(
    ("r1", "ann", "2017-11-06 08:00", "milk", True),
    ("r1", "ann", "2017-11-06 08:00", "eggs", True),
    ("r2", "ann", "2017-11-06 09:00", "soap", False),
    ("r3", "ann", "2017-11-07 09:00", "soap", False),
    ("r4", "bob", "2017-11-06 10:00", "milk", False),
)
LATE = pd.DataFrame(
    {"request_id": ["r3"], "position": [1], "click_time": pd.to_datetime(["2017-11-08 07:00"])}
)
DAYS = pd.DataFrame(
    [
        ("2017-11-06", "ann", 2.0, 2.0, 1.0, 1.0),
        ("2017-11-06", "bob", 1.0, 0.0, 1.0, 0.0),
        ("2017-11-07", "ann", 1.0, 1.0, 1.0, 1.0),
    ],
    columns=["day", "user_id", "requests", "clicks", "exposed", "clicking"],
)


def test_a_late_click_counts_for_the_day_of_its_hint() -> None:
    told = user_days(with_late_clicks(HINTS, LATE))
    pd.testing.assert_frame_equal(told, DAYS, check_dtype=False)
    without = user_days(HINTS)
    assert without["clicking"].tolist() == [1.0, 0.0, 0.0]


def test_a_user_day_that_only_one_arm_has_counts_as_nothing_under_the_other() -> None:
    arm, control = paired(DAYS.iloc[:1], DAYS.iloc[1:])
    assert arm["user_id"].tolist() == control["user_id"].tolist() == ["ann", "bob", "ann"]
    assert arm["requests"].tolist() == [2, 0, 0]
    assert control["clicks"].tolist() == [0, 0, 1]


def table(clicks: list[float], requests: list[float]) -> pd.DataFrame:
    rows = pd.DataFrame({"clicks": clicks, "requests": requests, "exposed": 1.0})
    return rows.assign(clicking=(rows["clicks"] > 0).astype(float))


def test_a_ratio_is_that_of_the_sums() -> None:
    arm, control = table([2, 1], [4, 2]), table([1, 1], [4, 1])
    told = change(arm, control, "clicks per request", ["a", "b"], seed=1)
    assert told.ratio == pytest.approx(3 / 6)
    assert told.mean == pytest.approx((3 / 6) / (2 / 5) - 1)  # +25%
    # Resamples hold a twice, b twice, or one of each: +100%, −50%, +25%.
    assert (told.low, told.high) == pytest.approx((-0.5, 1.0))
    assert told.clusters == 2
    assert str(Change(0.5, 0.25, -0.5, 1.0, 2)) == "+25.00% [-50.00%, +100.00%]"


def test_rows_of_a_household_are_drawn_together() -> None:
    arm, control = table([2, 0], [2, 2]), table([1, 1], [2, 2])
    one = change(arm, control, "clicks per request", ["a", "a"], seed=1)
    assert (one.low, one.mean, one.high) == (0.0, 0.0, 0.0)  # a household that always comes whole
    two = change(arm, control, "clicks per request", ["a", "b"], seed=1)
    assert two.low == -1.0
    assert two.high == 1.0


def test_equal_arms_differ_by_nothing() -> None:
    rng = np.random.default_rng(3)
    own = table(rng.integers(0, 2, 40).astype(float).tolist(), [1.0] * 40)
    told = change(own, own, "UCTR", [f"u{i}" for i in range(40)], seed=1)
    assert (told.low, told.mean, told.high) == (0.0, 0.0, 0.0)


def test_a_control_without_a_click_is_said_in_one_line() -> None:
    with pytest.raises(AigqError, match="nothing was clicked under the control"):
        change(table([1], [1]), table([0], [1]), "UCTR", ["a"], seed=1)


def test_headroom_is_the_share_of_the_oracles_gain() -> None:
    control, arm = table([1, 0, 0, 0], [1] * 4), table([1, 1, 0, 0], [1] * 4)
    oracle = table([1, 1, 1, 0], [1] * 4)
    same = ["a", "a", "a", "a"]
    told = headroom(arm, control, oracle, same, seed=1)
    assert told.mean == pytest.approx((0.5 - 0.25) / (0.75 - 0.25))
    assert told.ratio == 0.5
    assert (told.low, told.high) == pytest.approx((told.mean, told.mean))


def simulated(
    effect: float, seed: int, households: int = 600
) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """Two arms over 14 days of households whose chances to click differ and which come on
    about a day in three; draws in common but for a tenth. effect: on the arm, relative."""
    rng = np.random.default_rng(seed)
    house = np.repeat(np.arange(households), 14)[rng.random(households * 14) < 1 / 3]
    chance = rng.beta(2, 6, households)[house]
    common = rng.random(len(house))
    own = [np.where(rng.random(len(house)) < 0.1, rng.random(len(house)), common) for _ in range(2)]
    arm, control = (
        pd.DataFrame({"exposed": 1.0, "clicking": (draw < chance * (1 + gain)).astype(float)})
        for draw, gain in zip(own, (effect, 0.0), strict=True)
    )
    return arm, control, house.astype(str).tolist()


def test_intervals_of_equal_arms_cover_0_and_a_planted_effect_is_found() -> None:
    arm, control, houses = simulated(effect=0.0, seed=5, households=2400)
    told = self_test(arm, control, houses, seed=1, redraws=300)
    assert told.covering / told.redraws == pytest.approx(0.95, abs=0.035)
    assert told.found.low > 0
    assert told.found.mean == pytest.approx(0.05, abs=0.02)


def test_new_worlds_cover_0_as_often_as_re_draws_do() -> None:
    covering = 0
    for seed in range(100):
        arm, control, houses = simulated(effect=0.0, seed=seed)
        told = change(arm, control, "UCTR", houses, seed)
        covering += told.low <= 0 <= told.high
    assert 89 <= covering <= 100  # 95 expected; fewer than 89 in one of 200 tries


def test_arms_that_differ_do_not_pass_for_equal() -> None:
    """Changing places takes an effect away in the mean, so the re-draws say nothing of it: the
    change itself does."""
    arm, control, houses = simulated(effect=0.2, seed=5)
    assert change(arm, control, "UCTR", houses, seed=1).low > 0


def test_places_are_changed_by_whole_households() -> None:
    arm, control = table([1, 2, 3, 4], [1] * 4), table([5, 6, 7, 8], [1] * 4)
    for seed in range(20):
        first, second = swapped(arm, control, ["a", "a", "b", "b"], np.random.default_rng(seed))
        assert first["clicks"].tolist() in ([1, 2, 3, 4], [5, 6, 3, 4], [1, 2, 7, 8], [5, 6, 7, 8])
        assert (first["clicks"] + second["clicks"]).tolist() == [6, 8, 10, 12]


def test_what_a_source_alone_shows() -> None:
    hints = pd.DataFrame(
        {
            "source": ["u2q", "u2q", "popularity", "popularity"],
            "query": ["milk", "rye bread", "milk", "soap"],
            "clicked": [True, False, False, False],
        }
    )
    leaf = {"milk": "dairy", "rye bread": "", "soap": "household"}
    told = sources(hints, lambda queries: [leaf[query] for query in queries])
    assert told.to_dict("records") == [
        {
            "source": "popularity",
            "pvr": 0.5,
            "ctr": 0.0,
            "unique_queries": 1,
            "unique_categories": 1,
        },
        {"source": "u2q", "pvr": 0.5, "ctr": 0.5, "unique_queries": 1, "unique_categories": 0},
    ]
