import numpy as np
import pandas as pd
import pytest
from small_day import APPLES, FUJI, NOON, made

from aigq_tasks.sources.market.intent.arms import (
    Done,
    Mix,
    Moment,
    behaviours,
    classic,
    known_needs,
    oracle,
    repeated,
)
from aigq_tasks.sources.market.intent.belonging import belonging
from aigq_tasks.sources.market.intent.events import events_of
from aigq_tasks.sources.market.intent.knowing import COLUMNS, SEES, Log, auc, features, fitted
from aigq_tasks.sources.market.intent.past import (
    Counts,
    Shopper,
    Strings,
    days_of,
    key_of,
    moves_of,
)
from aigq_tasks.sources.market.intent.study import hints_of, of_households, requests_without_hints

SEED = 17
ROW = belonging(0).row
NOW = float(days_of(np.array([NOON]))[0])


def test_auc_by_hand() -> None:
    positive = np.array([True, False, True, False])
    # Pairs: 4 > 3, 4 > 1, 2 < 3, 2 > 1: three of four. A tie counts half.
    assert auc(np.array([4.0, 3.0, 2.0, 1.0]), positive) == 0.75
    assert auc(np.array([4.0, 2.0, 2.0, 1.0]), positive) == 0.875
    assert np.isnan(auc(np.array([1.0, 2.0]), np.array([True, True])))


def test_counts_and_shoppers_by_hand() -> None:
    moves = moves_of(made([APPLES, FUJI, APPLES], [0], own={FUJI: "gala apples"}))
    counts, shopper = Counts(), Shopper()
    counts.add(moves)
    shopper.add(moves)
    apples, fuji = ROW[APPLES], ROW[FUJI]
    assert (counts.typed[apples], counts.seen[fuji]) == (2, 1)
    assert (counts.after[apples, fuji], counts.after[fuji, apples]) == (1, 1)
    assert (counts.near[apples, fuji], counts.near[apples, apples]) == (2, 2)
    assert shopper.words == {apples: "braeburn apples", fuji: "gala apples"}
    assert shopper.queries == {"braeburn apples": 2, "gala apples": 1}
    assert shopper.last[fuji] - shopper.first[apples] == pytest.approx(60 / 86_400)
    assert shopper.looked[apples] == -400.0  # bought
    # ln((1 + 30 s) / (1 + 30) / s) with s = (1 + 1) / (3 + 1200).
    share = 2 / 1203
    lift = counts.lift(counts.after, 30.0)[apples, fuji]
    assert lift == pytest.approx(np.log((1 + 30 * share) / 31 / share), abs=1e-5)


def test_strings_count_what_came_after() -> None:
    day = made([APPLES, FUJI], [0])
    day.steps.loc[0, "typed"] = False
    strings = Strings()
    strings.add(moves_of(day))
    assert strings.asked == {"fuji apples": 1}
    assert strings.after == {"c APPLES": {"fuji apples": 1}}
    assert key_of(True, "tea", "TEAS") == "q tea"


def moment(*done: Done) -> Moment:
    return Moment(1, NOW, done)


def test_the_classic_page_mixes_three_counts() -> None:
    strings = Strings()
    strings.asked.update({"milk": 6, "tea": 4})
    strings.after["q milk"].update({"tea": 5})
    shopper = Shopper()
    shopper.queries.update({"ham": 1})
    page = classic(strings, {1: shopper}, Mix(own=0.3, after=0.2))
    # milk 0.5 · 0.6, ham 0.3 · 1 and tea 0.5 · 0.4.
    assert page(moment()) == ["ham", "milk", "tea"]
    # After milk, which is done: tea gains 0.2 · 5 / (5 + 5), and is before ham.
    after_milk = Done(NOW - 0.01, True, "milk", -1)
    assert page(moment(after_milk)) == ["ham", "tea"]
    assert classic(strings, {1: shopper}, Mix(0.3, 0.5))(moment(after_milk)) == ["tea", "ham"]


def test_the_oracle_words_needs_as_the_household_did() -> None:
    shopper = Shopper()
    shopper.words[int(ROW[APPLES])] = "5 lb braeburn apples"
    log = Log.of(Counts())
    rows = np.zeros((900, len(COLUMNS)), np.float32)
    target = np.repeat([0.0, 0.5, 1.0], 300)
    rows[:, COLUMNS.index("own_typed")] = target * 10
    model = fitted(rows, target, SEES["oracle"])
    shopper.typed[ROW[[APPLES, FUJI]]] = [10, 5]
    page = oracle(model, log, {1: shopper})
    assert page(moment())[:2] == ["5 lb braeburn apples", "fuji apples"]
    # What is done is not shown again.
    assert "fuji apples" not in page(moment(Done(NOW - 0.01, True, "fuji apples", FUJI)))


def test_the_page_that_repeats_itself() -> None:
    shopper = Shopper()
    shopper.queries.update({"ham": 2, "tea": 1})
    done = [Done(NOW - 0.02, True, "tea", -1), Done(NOW - 0.01, True, "jam", -1)]
    assert repeated({1: shopper})(moment(*done)) == ["jam", "tea", "ham"]


def test_features_see_the_past_and_what_was_just_done() -> None:
    counts, shopper = Counts(), Shopper()
    day = made([APPLES, FUJI], [0], looking=True)
    counts.add(moves_of(day))
    shopper.add(moves_of(day))
    later = NOW + 1.0
    apples, fuji = int(ROW[APPLES]), int(ROW[FUJI])
    table = pd.DataFrame(features(Log.of(counts), shopper, 1, later, [apples]), columns=COLUMNS)
    assert table.loc[fuji, "own_typed"] == 1
    assert table.loc[apples, "since"] == pytest.approx(1 - 60 / 86_400, abs=1e-4)
    assert table.loc[fuji, "looked_hours"] == pytest.approx(24 - 2 / 60, abs=1e-2)
    assert table.loc[fuji, "after_last"] > 3
    assert table.loc[apples, "steps"] == 1
    assert table.loc[apples, "popular"] == pytest.approx(np.log(2), abs=1e-6)
    rules = [name for name in COLUMNS if name.startswith("rule")]
    assert not set(rules) & set(SEES["click model"])
    assert set(rules) < set(SEES["oracle"])


def test_requests_know_what_was_done_and_what_is_to_come() -> None:
    day = made([APPLES, FUJI], [0, 1])
    found = requests_without_hints(day, SEED)
    assert [len(one.done) for one in found.moments] == [0, 1]
    assert known_needs(found.moments[1]) == [ROW[APPLES]]
    assert found.to_come == [{ROW[APPLES]: 0, ROW[FUJI]: 1}, {ROW[FUJI]: 0}]


def test_behaviours_hold_searches_items_and_clicked_hints() -> None:
    tables = dict(events_of(made([APPLES], [0]), SEED).tables)
    clicks = pd.DataFrame(
        {
            "user_id": ["h1", "h1"],
            "clicked": [True, False],
            "click_time": [NOON, np.datetime64("NaT", "us")],
            "query": ["fuji apples", "tea"],
        }
    )
    done = behaviours(tables | {"hint_impressions": clicks})["h1"]
    assert [(one.text, one.need) for one in done] == [
        ("fuji apples", FUJI),
        ("braeburn apples", APPLES),
    ]


def test_hints_of_a_page_are_judged_by_what_comes() -> None:
    day = made([APPLES, FUJI], [0, 1], sessions=30)
    few = of_households(day, np.arange(1, 21))
    hints = hints_of(few, lambda asked: ["braeburn apples"], SEED)
    assert hints["household_id"].nunique() == 20
    first = hints["request_id"].str.endswith("-0")
    assert hints.loc[first, "meets"].all()
    assert not hints.loc[~first, "meets"].any()  # it lies behind
    assert hints["clicked"].sum() > 10
    assert len(hints_of(few, lambda asked: [], SEED)) == 0
