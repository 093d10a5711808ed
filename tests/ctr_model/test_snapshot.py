import numpy as np
import pytest

from ctr_model.history import DAY_US, Behaviours
from ctr_model.snapshot import Dealings, Keys, Rates, expected_clicks


def test_keys_are_found_only_as_pairs() -> None:
    keys = Keys(width=10, values=np.array([12, 25]))
    owner, thing = np.array([1, 2, 2, -1, 1, 3]), np.array([2, 5, -1, 2, 3, -5])
    # (3, -5) would have the key 25 of (2, 5), and must not be taken for it.
    assert keys.find(owner, thing).tolist() == [0, 1, -1, -1, -1, -1]
    assert keys.owners.tolist() == [1, 2]
    assert keys.things.tolist() == [2, 5]


def test_dealings_group_events_by_user_and_thing() -> None:
    day = np.array([0, 1, 1, 4, 5])
    events = Behaviours(
        time=day * DAY_US,
        user=np.array([0, 0, 0, 0, 1]),
        content=np.array([3, 3, 3, 3, 3]),
        search=np.array([True, False, True, True, True]),
    )
    dealings = Dealings.of(events, np.array([3, 3, 3, -1, 3]), width=4, as_of=8 * DAY_US)
    row = dealings.keys.find(np.array([0, 1]), np.array([3, 3]))
    # User 0: ages 8, 7, 7; the event of thing -1 is left out; two days, so the gap is 8 - 7.
    np.testing.assert_array_equal(
        dealings.columns(row), [[2, 1, 7, 1, 7], [1, 0, 3, np.nan, np.nan]]
    )
    weight = [2 ** (-8 / 14) + 2 * 2 ** (-7 / 14), 2 ** (-3 / 14)]
    assert dealings.weight.tolist() == pytest.approx(weight)


def test_rates_do_not_praise_a_thing_for_its_slot() -> None:
    # Slot 1 clicks 2 of 4, slot 2 one of 4; overall 3/8.
    position = np.array([1, 1, 1, 1, 2, 2, 2, 2])
    clicked = np.array([1, 1, 0, 0, 1, 0, 0, 0], bool)
    expected = expected_clicks(position, clicked)
    assert expected.tolist() == [0.5] * 4 + [0.25] * 4
    # Thing 0 had slot 1 only, thing 1 slot 2 only: each clicked exactly as its slot does, so both
    # get the overall rate.  Thing 2 was never shown and gets it too.
    rates = Rates.of(np.array([0] * 4 + [1] * 4), clicked, expected, 3, overall=3 / 8)
    assert rates.rate.tolist() == pytest.approx([3 / 8] * 3)
    assert rates.shown.tolist() == [4, 4, 0]
    # A thing that took slot 2's only click in one showing: 3/8 * (1 + 1) / (0.25 + 1) = 0.6.
    rates = Rates.of(np.array([-1] * 4 + [0, 1, 1, 1]), clicked, expected, 2, overall=3 / 8)
    assert rates.rate.tolist() == pytest.approx([0.6, 3 / 8 / 1.75])
