import numpy as np
import pandas as pd
import pytest

from aigq_tasks.sources.market.intent.catalogue import Catalogue, load_catalogue
from aigq_tasks.sources.market.intent.tendencies import had_lately, scaled, tendencies


def test_scaled_by_hand() -> None:
    # min(0.7, c · (1, 2, 8)) with the mean 0.4: c = 1/6 gives 1/6, 1/3 and 0.7, in all 1.2.
    assert scaled(np.array([1.0, 2.0, 8.0]), 0.7, 0.4) == pytest.approx([1 / 6, 1 / 3, 0.7])


def test_had_lately_is_within_56_days_by_the_same_household() -> None:
    days = ["2017-01-01", "2017-02-26", "2017-02-27", "2017-06-01", "2017-06-02"]
    lines = pd.DataFrame(
        {
            "household_id": [1, 1, 2, 1, 1],
            "need": [0, 0, 0, 0, 1],
            "time": pd.to_datetime(days).as_unit("us"),
        }
    )
    needs = pd.DataFrame({"need": [0, 1]})
    # The second comes 56 days after the first; the next is another household's; then too late.
    found = had_lately(Catalogue(needs, needs, lines))
    assert found.tolist() == [False, True, False, False, False]


def test_a_fifth_of_all_lines_is_typed_and_a_twentieth_considered() -> None:
    chance = tendencies()
    assert chance.typed.mean() == pytest.approx(0.20, abs=1e-6)
    assert chance.considered.mean() == pytest.approx(0.05, abs=1e-6)
    assert chance.typed.max() == 0.7


def test_what_is_rare_and_new_is_typed_more() -> None:
    catalogue, chance = load_catalogue(), tendencies()
    need = catalogue.lines["need"].to_numpy()
    routine = had_lately(catalogue)
    # The same need, had lately or not: 0.4 of the chance, and 0.3 for being considered.
    common = int(catalogue.needs["baskets"].idxmax())
    rows = [np.flatnonzero((need == common) & (routine == had))[0] for had in (True, False)]
    assert chance.typed[rows[0]] == pytest.approx(0.4 * chance.typed[rows[1]])
    assert chance.considered[rows[0]] == pytest.approx(0.3 * chance.considered[rows[1]])
    # Of two needs that are new: (idf / idf)^1.5, and idf / idf.
    other = int(catalogue.needs["baskets"].nlargest(30).index[-1])
    place = np.flatnonzero((need == other) & ~routine)[0]
    ratio = catalogue.idf[other] / catalogue.idf[common]
    assert ratio > 1
    assert chance.typed[place] / chance.typed[rows[1]] == pytest.approx(ratio**1.5)
    assert chance.considered[place] / chance.considered[rows[1]] == pytest.approx(ratio)
