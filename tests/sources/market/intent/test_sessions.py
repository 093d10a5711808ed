from collections import Counter
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest

from aigq_tasks.sources.market.intent import sessions
from aigq_tasks.sources.market.intent.belonging import Belonging, belonging, half_of
from aigq_tasks.sources.market.intent.config import IntentConfig
from aigq_tasks.sources.market.intent.plans import (
    EARLIER_LOOK,
    LOOK,
    Plan,
    decoys_of,
    looks_of,
    plans_of,
)
from aigq_tasks.sources.market.intent.sessions import Day, curiosity, day_of, order_of, walked
from aigq_tasks.sources.market.intent.visits import Visit, visits_between

DAY = date(2017, 11, 6)
SEED = 17
N = 3000
SOME = IntentConfig(households=400, cold_share=0.0)
START = np.datetime64(DAY, "us")
# Needs 0, 1, 2: 0 belongs to 1, and nothing else to anything; each one's only way leads to 1 or 0.
TABLE = Belonging(
    np.arange(3),
    np.array([[0, 0.5, 0], [0.5, 0, 0], [0, 0, 0]], np.float32),
    np.array([[1, 2], [0, 2], [0, 1]]),
    np.array([[0.75, 1.0], [0.75, 1.0], [0.5, 1.0]]),
)


def plan(number: int, needs: list[int]) -> Plan:
    n = len(needs)
    whole = np.array(needs, np.int64)
    return Plan(number, 1, START, whole, whole, np.ones(n), np.full(n, 0.5))


@pytest.fixture(scope="module")
def day() -> Day:
    return day_of(DAY, SOME, SEED)


def test_order_by_hand() -> None:
    # The first is each need with 1/3; after 0, 1 comes with e^(2 · 0.5) / (e + 1) = 0.7311.
    orders = [order_of(plan(4 * n, [0, 1, 2]), TABLE, SEED) for n in range(N)]
    first = Counter(order[0] for order in orders)
    assert [first[n] / N for n in range(3)] == pytest.approx([1 / 3] * 3, abs=0.035)
    after = [order[1] == 1 for order in orders if order[0] == 0]
    assert np.mean(after) == pytest.approx(0.7311, abs=4 * np.sqrt(0.2 / len(after)))
    neither = [order[1] == 1 for order in orders if order[0] == 2]
    assert np.mean(neither) == pytest.approx(0.5, abs=4 * np.sqrt(0.25 / len(neither)))
    assert {tuple(sorted(order)) for order in orders} == {(0, 1, 2)}


def test_curiosity_by_hand() -> None:
    # From 0 with 0.4 on; with 0.75 to 1, else to 2. From there with 0.4 on: from 1 to 0 (0.75),
    # which comes anyway and ends it, or to 2; from 2 to 0 (ends it) or 1, each with a half.
    found = [tuple(curiosity(plan(4 * n, [0]), TABLE, SEED)[0]) for n in range(N)]
    share = Counter(found)
    expected = {
        (): 0.6,
        (1,): 0.3 * (0.6 + 0.4 * 0.75),
        (1, 2): 0.3 * 0.4 * 0.25,
        (2,): 0.1 * (0.6 + 0.4 * 0.5),
        (2, 1): 0.1 * 0.4 * 0.5,
    }
    assert sum(expected.values()) == pytest.approx(1.0)
    assert set(share) == set(expected)
    for way, chance in expected.items():
        assert share[way] / N == pytest.approx(chance, abs=4 * np.sqrt(chance * (1 - chance) / N))


def test_curiosity_never_meets_a_need_twice() -> None:
    table = belonging(0)
    for n in range(200):
        needs = table.neighbours[n % 50, :3].tolist()
        detours = [need for way in curiosity(plan(4 * n, needs), table, SEED) for need in way]
        assert len({*needs, *detours}) == len(needs) + len(detours)


def test_some_of_what_curiosity_leads_to_is_bought() -> None:
    visits = visits_between(DAY, DAY + timedelta(days=3), IntentConfig(), SEED)
    steps = []
    for visit in visits:
        own = plan(4 * visit.basket, visit.needs.tolist())
        steps += [step for step in walked(own, SEED) if step[1] not in visit.needs]
    bought = np.array([step[3] for step in steps])
    # CURIOUS_BOUGHT = 0.15; each is typed with 0.45; a price where it is bought, else 0.
    assert bought.mean() == pytest.approx(0.15, abs=4 * np.sqrt(0.1275 / len(bought)))
    assert {step[2] for step in steps} == {0.45}
    paid = np.array([step[5] for step in steps])
    assert (paid[~bought] == 0).all()
    assert (paid[bought] > 0).mean() > 0.98


def a_visit(considered: int) -> Visit:
    whole = IntentConfig()
    return next(
        visit
        for visit in visits_between(DAY, DAY + timedelta(days=6), whole, SEED)
        if visit.considered.sum() == considered
    )


def test_looks_come_before_their_visit_with_a_decoy_per_need() -> None:
    visit = a_visit(considered=3)
    decoys = decoys_of(visit, SEED)
    assert len(decoys) == 3
    assert not set(decoys) & set(visit.needs.tolist())
    table = belonging(int(half_of(visit.household)))
    for need, decoy in zip(visit.needs[visit.considered], decoys, strict=True):
        assert decoy in table.neighbours[table.row[need]]
    look = next(iter(looks_of(visit, SEED)))
    assert look.number == 4 * visit.basket + LOOK
    assert look.needs.tolist() == [*visit.needs[visit.considered], *decoys]
    assert look.looking
    assert (look.typed == 0.7).all()
    assert (look.paid == 0).all()


def test_when_and_how_often_looks_come() -> None:
    hours: dict[int, list[float]] = {LOOK: [], EARLIER_LOOK: []}
    again = looked = 0
    whole = IntentConfig()
    for visit in visits_between(DAY, DAY + timedelta(days=20), whole, SEED):
        if not visit.considered.any():
            continue
        first, *rest = looks_of(visit, SEED)
        looked += len(first.needs)
        again += sum(len(look.needs) for look in rest)
        for look in (first, *rest):
            before = visit.paid if look is first else first.moment
            hours[look.number % 4].append((before - look.moment) / np.timedelta64(1, "h"))
    # LogN(ln 5 h, 1) and LogN(ln 12 h, 1), between half an hour and three days: the medians, with
    # a standard error of 1.25 · 5 / sqrt(n) or 1.25 · 12 / sqrt(n).
    for kind, median in ((LOOK, 5.0), (EARLIER_LOOK, 12.0)):
        found = np.array(hours[kind])
        error = 4 * 1.2533 * median / np.sqrt(len(found))
        assert np.median(found) == pytest.approx(median, abs=error)
        assert found.min() >= 0.49
        assert found.max() <= 72.01
    assert again / looked == pytest.approx(0.4, abs=4 * np.sqrt(0.24 / looked))


def test_a_day_holds_its_visits_and_the_looks_of_later_ones() -> None:
    own = plans_of(DAY, SOME, SEED)
    visits = visits_between(DAY, DAY + timedelta(days=6), SOME, SEED)
    today = [v.basket for v in visits if v.paid < START + np.timedelta64(1, "D")]
    assert [p.number // 4 for p in own if not p.looking] == today
    looks = [p for p in own if p.looking]
    assert looks
    assert all(p.moment.astype("M8[D]") == np.datetime64(DAY) for p in looks)
    # A look belongs to one day.
    tomorrow = plans_of(DAY + timedelta(days=1), SOME, SEED)
    assert not {p.number for p in own} & {p.number for p in tomorrow}


def test_a_session_lies_within_its_day_and_ends_when_it_is_paid(day: Day) -> None:
    times = day.steps.groupby("session")["time"]
    assert (times.first() > day.sessions["start"]).all()
    assert (times.last() == day.sessions["end"]).all()
    assert (day.steps["time"].dt.date == DAY).all()
    gap = times.diff().dropna().dt.total_seconds()
    assert gap.between(20, 100).all()
    paid = {4 * v.basket: v.paid for v in visits_between(DAY, DAY, SOME, SEED)}
    bought = day.sessions[~day.sessions["looking"]]
    inside = bought["start"] > START
    assert (bought["end"] == bought["number"].map(paid).dt.floor("s"))[inside].mean() > 0.98


def test_steps_are_the_needs_of_the_plans(day: Day) -> None:
    plans = sorted(plans_of(DAY, SOME, SEED), key=lambda own: own.number)
    assert day.sessions["number"].tolist() == [own.number for own in plans]
    for own, (_, steps) in zip(plans, day.steps.groupby("session"), strict=True):
        assert set(own.needs) <= set(steps["need"])
        assert steps["need"].is_unique
        assert steps["step"].tolist() == list(range(len(steps)))
        assert own.looking is not bool(steps["bought"].any())
    typed = day.steps["typed"]
    assert (day.steps.loc[typed, ["own", "today"]] != "").all(axis=None)
    assert (day.steps.loc[~typed, ["own", "today"]] == "").all(axis=None)


def test_requests_come_at_the_start_and_before_later_steps(day: Day) -> None:
    requests = day.requests
    assert requests["request_id"].is_unique
    again = requests.sort_values(["time", "request_id"], ignore_index=True)
    pd.testing.assert_frame_equal(requests, again)
    first = requests[requests["step"] == 0]
    assert sorted(first["session"]) == list(range(len(day.sessions)))
    starts = day.sessions["start"].to_numpy()[first["session"].to_numpy()]
    assert (first["time"].to_numpy() == starts).all()
    later = requests[requests["step"] > 0].merge(day.steps, on=["session", "step"])
    assert (later["time_y"] - later["time_x"] == pd.Timedelta(seconds=10)).all()
    steps = len(day.steps) - len(day.sessions)
    assert len(later) / steps == pytest.approx(0.3, abs=4 * np.sqrt(0.21 / steps))
    turns = requests.groupby("household_id")["turn"].agg(list)
    assert all(turn == list(range(len(turn))) for turn in turns)


def test_the_same_day_twice_is_the_same(day: Day) -> None:
    sessions.day_of.cache_clear()
    again = day_of(DAY, SOME, SEED)
    other = day_of(DAY, SOME, SEED + 1)
    for name in ("sessions", "steps", "requests"):
        pd.testing.assert_frame_equal(getattr(day, name), getattr(again, name))
    assert not day.steps["today"].equals(other.steps["today"])


def test_intent_changes_words_and_nothing_else(day: Day) -> None:
    for intent in ("weak", "strong", "one_string"):
        config = SOME.model_copy(update={"intent": intent})
        other = day_of(DAY, config, SEED)
        words = ["own", "today"]
        pd.testing.assert_frame_equal(
            day.steps.drop(columns=words), other.steps.drop(columns=words)
        )
        assert not day.steps["today"].equals(other.steps["today"])
        pd.testing.assert_frame_equal(day.requests, other.requests)
