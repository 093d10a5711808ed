import numpy as np
import pytest

from aigq_tasks.sources.market.intent.belonging import (
    Belonging,
    belonging,
    half_of,
    neighbourhoods,
    pmi_plus,
)
from aigq_tasks.sources.market.intent.catalogue import load_catalogue
from aigq_tasks.sources.market.intent.rules import KNOWN_NEEDS


def test_pmi_by_hand() -> None:
    # Four baskets: {0, 1} three times and {2}; need -1 does not count.
    baskets = np.array([0, 0, 1, 1, 2, 2, 3, 3])
    rows = np.array([0, 1, 0, 1, 0, 1, 2, -1])
    table = pmi_plus(rows, baskets, 3)
    # c = 3, e = 3 · 3 / 4 = 2.25: ln(8 / 7.25). With 2: c = 0 < e = 0.75, so nothing.
    expected = np.zeros((3, 3))
    expected[0, 1] = expected[1, 0] = np.log(8 / 7.25)
    assert table == pytest.approx(expected, abs=1e-6)


def test_neighbourhoods_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aigq_tasks.sources.market.intent.belonging.NEIGHBOURS", 2)
    pmi = np.array([[0, 0.5, 0.2], [0.5, 0, 0], [0.2, 0, 0]], np.float32)
    order, reach = neighbourhoods(pmi)
    assert order.tolist() == [[1, 2], [0, 2], [0, 1]]
    # e^1.5 = 4.4817 and e^0.6 = 1.8221: the first has 0.7110.
    assert reach[0] == pytest.approx([0.7110, 1.0], abs=1e-4)


def test_a_draw_leads_to_a_neighbour_by_its_share() -> None:
    table = Belonging(
        np.array([0, -1, 1]),
        np.array([[0, 1], [1, 0]], np.float32),
        np.array([[2, 7], [0, 7]]),
        np.array([[0.7, 1.0], [0.7, 1.0]]),
    )
    assert [table.neighbour(0, draw) for draw in (0.0, 0.69, 0.7, 0.99)] == [2, 2, 7, 7]
    assert table.neighbour(1, 0.5) == -1  # too rare to belong to anything
    assert table.between(np.array([0, 1, 2])).tolist() == [[0, 0, 1], [0, 0, 0], [1, 0, 0]]


def test_each_half_learns_from_the_other() -> None:
    one, other = belonging(0), belonging(1)
    assert one.pmi.shape == (KNOWN_NEEDS, KNOWN_NEEDS)
    assert not np.array_equal(one.pmi, other.pmi)
    # Without the baskets of half 1, half 0's table is the same; so they are all that it knows.
    lines = load_catalogue().lines
    mine = half_of(lines["household_id"].to_numpy()) == 1
    rows = one.row[lines["need"].to_numpy()[mine]]
    baskets = np.unique(lines["basket_id"].to_numpy()[mine], return_inverse=True)[1]
    assert np.array_equal(pmi_plus(rows, baskets, KNOWN_NEEDS), one.pmi)
    assert mine.mean() == pytest.approx(0.5, abs=0.05)
