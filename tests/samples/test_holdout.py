import hashlib
from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigq_tasks.samples.holdout import held_out

DAY = date(2017, 11, 6)
USERS = [f"h{i}" for i in range(4000)]


def test_the_draw_is_the_hash_of_seed_day_and_user() -> None:
    # The first eight bytes of SHA-256("17|2017-11-06|h1228") as a fraction of 2^64.
    digest = hashlib.sha256(b"17|2017-11-06|h1228").hexdigest()
    fraction = int(digest[:16], 16) / 2**64
    assert held_out(["h1228"], DAY, fraction, 17) == set()
    assert held_out(["h1228"], DAY, fraction + 1e-9, 17) == {"h1228"}


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_the_share_of_users_is_kept(share: float) -> None:
    kept = len(held_out(USERS, DAY, share, 17)) / len(USERS)
    assert kept == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / len(USERS)))


def test_nobody_and_everybody() -> None:
    assert held_out(USERS, DAY, 0.0, 17) == set()
    assert held_out(USERS, DAY, 1.0, 17) == set(USERS)


def test_every_day_and_seed_draws_anew() -> None:
    today = held_out(USERS, DAY, 0.5, 17)
    for other in (held_out(USERS, DAY + timedelta(days=1), 0.5, 17), held_out(USERS, DAY, 0.5, 18)):
        # Independent halves share a quarter of all users: 1000, sd sqrt(4000 · 3/16) = 27.
        assert len(today & other) == pytest.approx(1000, abs=110)
    # So in ten days hardly anybody (4000 / 2^10 = 4) is held out always.
    days = [held_out(USERS, DAY + timedelta(days=n), 0.5, 17) for n in range(10)]
    assert len(set.intersection(*days)) < 15


@given(users=st.sets(st.text(max_size=5)), share=st.floats(0, 1), more=st.floats(0, 1))
def test_a_user_is_drawn_alone_and_a_larger_share_only_adds(
    users: set[str], share: float, more: float
) -> None:
    low, high = sorted((share, more))
    kept = held_out(users, DAY, low, 17)
    assert kept == {user for user in users if held_out([user], DAY, low, 17)}
    assert kept <= held_out(users, DAY, high, 17) <= users
