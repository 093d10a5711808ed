from hypothesis import given
from hypothesis import strategies as st

from aigq_tasks.context.interests import (
    Interest,
    ThinkLimits,
    read_interests,
    render_interests,
    within,
)

POINTS = [
    Interest("milk due again", (3, 1), ("milk", "oat milk")),
    Interest("tea often", (2,), ("tea",)),
]
TARGET = (
    "<why>milk due again<why>tea often"
    "<interest><b_3><b_1><queries>milk<sep>oat milk<interest><b_2><queries>tea"
)


def test_the_layout() -> None:
    assert render_interests(POINTS) == TARGET
    assert render_interests([]) == ""


words = st.text("abc 1", min_size=1)
interest = st.builds(
    Interest,
    words,
    st.lists(st.integers(1, 99), min_size=1, max_size=3).map(tuple),
    st.lists(words, min_size=1, max_size=3).map(tuple),
)


@given(st.lists(interest, max_size=4))
def test_what_was_rendered_can_be_read(points: list[Interest]) -> None:
    assert read_interests(render_interests(points)) == points


def test_within_the_limits() -> None:
    limits = ThinkLimits(interests=1, triggers=1, queries=1, rationale_tokens=2)
    assert within(POINTS, limits) == [Interest("milk due", (3,), ("milk",))]
    assert within(POINTS, ThinkLimits()) == POINTS
    # <why> r r <interest> t <queries> q16 ... : 1 + 2 + 1 + 1 + 1·(1 + 16), and the end.
    assert limits.max_new_tokens == 23
