"""Near-duplicates and MMR by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigq_tasks.recall.config import Candidates
from aigq_tasks.recall.likeness import Meanings, Words, spread

TEXTS = ["milk", "oat milk", "milk oat", "tea", "green tea leaves", "jam"]
ANGLES = np.deg2rad([0, 60, 60, 90, 100, 180])
VECTORS = np.column_stack([np.cos(ANGLES), np.sin(ANGLES)]).astype(np.float32)
MEANINGS = Meanings.of(TEXTS, VECTORS)
SCORES = np.array([[0.5, 0.49, 0.48, 0.4, 0.39, 0.3]])
EVERY = np.arange(6)[None, :]


def taken(**options: float) -> tuple[list[int], list[float]]:
    config = Candidates(**{"diversity": 0.0, "same_cosine": 0.9, "same_words": 0.9} | options)
    order, values = spread(SCORES, EVERY, MEANINGS, config, 6)
    left = order[0] >= 0
    return order[0][left].tolist(), values[0][left].tolist()


def test_maximal_marginal_relevance_by_hand() -> None:
    # Cosines: milk 0°, oat milk 60°, tea 90°, green tea 100°, jam 180°. "milk oat" is "oat milk".
    # milk 0.5. Then oat milk 0.49 - 0.2 · cos 60° = 0.39, tea 0.4 - 0: tea, and with it green tea
    # (cos 10° = 0.98) is out. Then oat milk 0.49 - 0.2 · cos 30° = 0.3168, jam 0.3.
    order, values = taken(diversity=0.2)
    assert [TEXTS[i] for i in order] == ["milk", "tea", "oat milk", "jam"]
    assert values == pytest.approx([0.5, 0.4, 0.49 - 0.2 * np.cos(np.deg2rad(30)), 0.3])


def test_near_duplicates_are_never_taken() -> None:
    by_cosine, _ = taken()
    assert [TEXTS[i] for i in by_cosine] == ["milk", "oat milk", "tea", "jam"]
    closer, _ = taken(same_cosine=0.45)  # oat milk is 60° from milk
    assert [TEXTS[i] for i in closer] == ["milk", "tea", "jam"]
    far = Meanings.of(TEXTS, np.zeros_like(VECTORS))  # nothing is known but words
    order, _ = spread(SCORES, EVERY, far, Candidates(diversity=0.0, same_words=0.9), 6)
    assert [TEXTS[i] for i in order[0] if i >= 0] == [
        *("milk", "oat milk", "tea", "green tea leaves", "jam"),
    ]
    order, _ = spread(SCORES, EVERY, far, Candidates(diversity=0.0, same_words=0.5), 6)
    # Jaccard: milk, oat milk 1/2; tea, green tea leaves 1/3.
    assert [TEXTS[i] for i in order[0] if i >= 0] == ["milk", "tea", "green tea leaves", "jam"]


def test_overlap_is_the_share_of_common_words() -> None:
    found = Words.of(MEANINGS.words[EVERY]).overlap(np.array([1]))
    assert found[0].tolist() == pytest.approx([1 / 2, 1, 1, 0, 0, 0])
    assert Words.of(np.full((1, 1, 2), -1)).overlap(np.array([0])).tolist() == [[0.0]]
    many = np.arange(200).reshape(1, 100, 2)  # more words than a number has bits
    assert Words.of(many).overlap(np.array([99]))[0].tolist() == [0.0] * 99 + [1.0]


def test_rows_without_candidates_and_lengths() -> None:
    scores = np.vstack([SCORES, np.full((1, 6), -np.inf)])
    order, values = spread(scores, np.vstack([EVERY, EVERY]), MEANINGS, Candidates(), 2)
    assert order.shape == values.shape == (2, 2)
    assert order[1].tolist() == [-1, -1]
    assert np.isneginf(values[1]).all()
    none, _ = spread(np.empty((0, 0)), np.empty((0, 0), int), MEANINGS, Candidates(), 2)
    assert none.shape == (0, 2)


@given(
    st.lists(st.floats(0, 1), min_size=6, max_size=6),
    st.floats(0, 1),
    st.floats(0.1, 1),
    st.integers(1, 7),
)
def test_values_fall_and_none_is_like_one_above(
    scores: list[float], diversity: float, cosine: float, length: int
) -> None:
    config = Candidates(diversity=diversity, same_cosine=cosine)
    order, values = spread(np.array([scores]), EVERY, MEANINGS, config, length)
    left = order[0] >= 0
    picked = order[0][left]
    assert len(set(picked.tolist())) == len(picked) <= length
    assert picked[0] == np.argmax(scores)
    assert (np.diff(values[0][left]) <= 1e-12).all()
    cosines = VECTORS[picked] @ VECTORS[picked].T
    assert (np.tril(cosines, -1) < cosine + 1e-6).all()
