import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigq_tasks.sources.market.intent.clicks import click_probability, examine, focus


@pytest.mark.parametrize(
    ("position", "quality", "ahead", "above", "expected"),
    [
        # examine · (0.004 + 0.9 · quality · (0.15 + 0.85 · exp(-ahead / 3)) · (0.1 if above))
        (1, 1.0, 0, False, 0.904),
        (1, 0.0, 0, False, 0.004),
        (3, 0.0, 5, True, 0.52 * 0.004),
        # 0.72 · (0.004 + 0.9 · 0.8 · (0.15 + 0.85 · 0.367879)) = 0.72 · (0.004 + 0.72 · 0.462697)
        (2, 0.8, 3, False, 0.242742),
        # 0.52 · (0.004 + 0.09)
        (3, 1.0, 0, True, 0.04888),
        # 0.52 · (0.52 / 0.72) · 0.904
        (4, 1.0, 0, False, 0.339502),
    ],
)
def test_click_probability(
    position: int, quality: float, ahead: int, above: bool, expected: float
) -> None:
    assert click_probability(position, quality, ahead, above) == pytest.approx(expected, abs=1e-6)


def test_attention_fades_with_position_and_with_steps() -> None:
    assert [examine(position) for position in (1, 2, 3)] == [1.0, 0.72, 0.52]
    # 0.72 -> 0.52 is a factor of 0.7222: 0.52 · 0.7222, then once more.
    assert [examine(4), examine(5)] == pytest.approx([0.375556, 0.271235], abs=1e-6)
    assert [focus(0), focus(3), focus(1000)] == pytest.approx([1.0, 0.462697, 0.15], abs=1e-6)


@given(
    position=st.integers(1, 12),
    quality=st.floats(0, 1),
    ahead=st.integers(0, 99),
    above=st.booleans(),
)
def test_click_probability_falls_with_every_obstacle(
    position: int, quality: float, ahead: int, above: bool
) -> None:
    p = click_probability(position, quality, ahead, above)
    assert 0 < p <= 0.904
    assert p <= click_probability(position, 1.0, ahead, above)
    assert p <= click_probability(position, quality, 0, above)
    assert p <= click_probability(position, quality, ahead, above=False)
    assert p <= click_probability(1, quality, ahead, above)
