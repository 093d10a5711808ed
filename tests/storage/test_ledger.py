"""Which release was live on a day: the rule, and its invariants."""

import itertools
import random
from datetime import date, timedelta

from hypothesis import assume, given
from hypothesis import strategies as st

from aigq_tasks.storage.ledger import Entry, live_on

FIRST = date(2017, 11, 1)


def entry(number: int, day: int) -> Entry:
    """Entry `number` of November `day`, 2017."""
    return Entry(
        number=number,
        day=FIRST + timedelta(days=day - 1),
        revision=1,
        parent=None,
        verdict="accepted",
        code="c",
        config="d",
        who="w",
        why="test",
    )


# A ledger as append leaves it: numbers 1.., days that never fall.
LEDGERS = st.lists(st.integers(0, 3), max_size=12).map(
    lambda steps: [
        entry(number, day)
        for number, day in enumerate(itertools.accumulate(steps, initial=1), start=1)
    ]
)
DAYS = st.integers(-2, 45).map(lambda offset: FIRST + timedelta(days=offset))


def test_by_hand() -> None:
    #            number: 1  2  3  4   (3 corrects 2; 4 comes two days later)
    ledger = [entry(1, 5), entry(2, 6), entry(3, 6), entry(4, 8)]
    live = {day: live_on(ledger, date(2017, 11, day)) for day in range(4, 10)}
    numbers = {day: found.number if found else None for day, found in live.items()}
    # The release of day 5 serves day 6, not day 5; nothing new on day 8, so 3 goes on.
    assert numbers == {4: None, 5: None, 6: 1, 7: 3, 8: 3, 9: 4}


@given(LEDGERS, DAYS, st.randoms(use_true_random=False))
def test_the_order_of_reading_does_not_matter(
    ledger: list[Entry], day: date, order: random.Random
) -> None:
    shuffled = order.sample(ledger, len(ledger))
    assert live_on(shuffled, day) == live_on(ledger, day)


@given(LEDGERS, DAYS)
def test_nothing_from_the_day_itself_or_later_serves_it(ledger: list[Entry], day: date) -> None:
    live = live_on(ledger, day)
    if live is None:
        assert all(e.day >= day for e in ledger)
    else:
        assert live.day < day
        assert all(e.number <= live.number for e in ledger if e.day < day)


@given(LEDGERS, DAYS, st.integers(0, 12))
def test_later_releases_do_not_change_what_served_the_past(
    ledger: list[Entry], day: date, cut: int
) -> None:
    assume(all(e.day >= day for e in ledger[cut:]))
    assert live_on(ledger, day) == live_on(ledger[:cut], day)


@given(LEDGERS, st.integers(-2, 44))
def test_the_live_number_never_falls_from_day_to_day(ledger: list[Entry], offset: int) -> None:
    today = live_on(ledger, FIRST + timedelta(days=offset))
    tomorrow = live_on(ledger, FIRST + timedelta(days=offset + 1))
    assert (today.number if today else 0) <= (tomorrow.number if tomorrow else 0)


def test_highest_day_wins_over_highest_number() -> None:
    assert live_on([entry(1, 7), entry(2, 6)], date(2017, 11, 9)) == entry(1, 7)


@given(LEDGERS)
def test_bytes_round_trip(ledger: list[Entry]) -> None:
    assert [Entry.from_bytes(e.to_bytes()) for e in ledger] == ledger
