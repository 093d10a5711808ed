from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from recall.source_cases import AS_OF

from aigq_tasks.errors import AigqError
from aigq_tasks.recall.config import Exposure
from aigq_tasks.recall.exposure import expose, fill_slots, plackett_luce, slot_chances


def ranking_of(scores: Sequence[float], user: str = "u") -> pd.DataFrame:
    n = len(scores)
    return pd.DataFrame(
        {
            "user_id": [user] * n,
            "rank": range(1, n + 1),
            "query": [f"q{i}" for i in range(n)],
            "source": ["popularity"] * n,
            "rank_score": sorted(scores, reverse=True),
        }
    )


def requests_of(count: int, user: str = "u") -> pd.DataFrame:
    return pd.DataFrame(
        {"request_id": [f"{user}-{i}" for i in range(count)], "user_id": user, "time": AS_OF}
    )


@dataclass(frozen=True)
class Reference:
    """The exposure policy, enumerated one page at a time from its definition."""

    scores: Sequence[float]
    top_n: int
    temperature: float
    slots: int = 3

    def page(self, page: Sequence[int]) -> float:
        """Probability that a request shows the candidates `page`, top to bottom."""
        return sum(self._given(page, exploring) for exploring in range(self.slots)) / self.slots

    def _given(self, page: Sequence[int], exploring: int) -> float:
        left, product = list(range(len(self.scores))), 1.0
        for slot, shown in enumerate(page):
            if slot == exploring:
                product *= 1 / len(left)
            else:
                weights = {
                    i: np.exp(self.scores[i] / self.temperature) for i in left if i < self.top_n
                }
                product *= weights.get(shown, 0.0) / sum(weights.values())
            left.remove(shown)
        return product


SCORES = [0.9, 0.7, 0.65, 0.3, 0.1]
POLICY = Exposure(top_n=4, temperature=0.4)
REFERENCE = Reference(SCORES, POLICY.top_n, POLICY.temperature)


@pytest.fixture(scope="module")
def pages() -> pd.DataFrame:
    """12,000 pages of one user, a column for each slot's query, propensity and explored."""
    shown = expose(ranking_of(SCORES), requests_of(12_000), POLICY, seed=3)
    return shown.pivot_table(
        index="request_id",
        columns="position",
        values=["query", "propensity", "explored"],
        aggfunc="first",
    )


def test_propensities_are_exact(pages: pd.DataFrame) -> None:
    checked = set()
    for queries, propensities in zip(
        pages["query"].to_numpy(), pages["propensity"].to_numpy(), strict=True
    ):
        page = [int(query[1:]) for query in queries]
        if tuple(page) in checked:
            continue
        checked.add(tuple(page))
        for slot in range(3):
            above = REFERENCE.page(page[:slot])
            assert propensities[slot] == pytest.approx(REFERENCE.page(page[: slot + 1]) / above)
    assert len(checked) > 40  # of 60 orders of five candidates in three slots


def test_propensities_of_alternatives_sum_to_one(pages: pd.DataFrame) -> None:
    for slot in (1, 2, 3):
        alternatives: dict[tuple[str, ...], dict[str, float]] = defaultdict(dict)
        for queries, propensities in zip(
            pages["query"].to_numpy(), pages["propensity"].to_numpy(), strict=True
        ):
            alternatives[tuple(queries[: slot - 1])][queries[slot - 1]] = propensities[slot - 1]
        whole = [found for found in alternatives.values() if len(found) == 5 - (slot - 1)]
        assert whole
        for found in whole:
            assert sum(found.values()) == pytest.approx(1.0)


def test_pages_come_as_often_as_their_propensity_says(pages: pd.DataFrame) -> None:
    drawn = Counter(tuple(int(q[1:]) for q in queries) for queries in pages["query"].to_numpy())
    n = len(pages)
    for page in permutations(range(5), 3):
        p = REFERENCE.page(page)
        # Five standard errors: over 60 pages a false alarm is rarer than 1 in 10,000 seeds.
        assert abs(drawn[page] - n * p) <= 5 * np.sqrt(n * p * (1 - p)) + 1e-9


def test_one_slot_explores_and_each_as_often(pages: pd.DataFrame) -> None:
    explored = pages["explored"].to_numpy(dtype=bool)
    assert (explored.sum(axis=1) == 1).all()
    assert explored.mean(axis=0) == pytest.approx(1 / 3, abs=0.02)  # 4.6 standard errors


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=8),
    st.integers(3, 6),
    st.floats(0.02, 2.0),
    st.integers(0, 2**32),
)
def test_any_page_is_valid_and_its_propensities_multiply_to_its_probability(
    scores: list[float], top_n: int, temperature: float, seed: int
) -> None:
    scores = sorted(scores, reverse=True)
    policy = Exposure(top_n=top_n, temperature=temperature)
    shown = expose(ranking_of(scores), requests_of(5), policy, seed)
    reference = Reference(scores, top_n, temperature)
    for _, page in shown.groupby("request_id"):
        queries = [int(query[1:]) for query in page["query"]]
        assert page["position"].tolist() == list(range(1, 1 + min(3, len(scores))))
        assert len(set(queries)) == len(queries)
        assert page["propensity"].between(0, 1 + 1e-9, inclusive="right").all()
        assert page["propensity"].prod() == pytest.approx(reference.page(queries), rel=1e-6)
        exploit = page.loc[~page["explored"], "query"]
        assert all(int(query[1:]) < top_n for query in exploit)


def test_draws_depend_on_seed_and_request_alone() -> None:
    ranking = pd.concat([ranking_of(SCORES), ranking_of([0.4, 0.3, 0.2], "v")], ignore_index=True)
    both = pd.concat([requests_of(30), requests_of(30, "v")], ignore_index=True)
    shown = expose(ranking, both, POLICY, seed=3)
    shuffled = expose(ranking, both.sample(frac=1, random_state=1), POLICY, seed=3)
    order = ["request_id", "position"]
    pd.testing.assert_frame_equal(
        shown.sort_values(order, ignore_index=True),
        shuffled.sort_values(order, ignore_index=True),
    )
    alone = expose(ranking_of(SCORES), requests_of(30), POLICY, seed=3)
    pd.testing.assert_frame_equal(alone, shown[shown["user_id"] == "u"].reset_index(drop=True))
    other = expose(ranking, both, POLICY, seed=4)
    assert other["query"].tolist() != shown["query"].tolist()


def test_a_request_may_have_a_ranking_of_its_own() -> None:
    mine = ranking_of([0.5]).assign(request_id="u-0", query="tea")
    other = ranking_of(SCORES).assign(request_id="u-1")
    ranking = pd.concat([mine, other], ignore_index=True)
    shown = expose(ranking, requests_of(2), POLICY, seed=3)
    assert shown.loc[shown["request_id"] == "u-0", "query"].tolist() == ["tea"]
    same = expose(ranking_of(SCORES), requests_of(2), POLICY, seed=3)
    of_other = shown["request_id"] == "u-1"
    pd.testing.assert_frame_equal(
        shown[of_other].reset_index(drop=True),
        same[same["request_id"] == "u-1"].reset_index(drop=True),
    )
    with pytest.raises(AigqError, match="request_id u-1 has no ranking"):
        expose(mine, requests_of(2), POLICY, seed=3)


def test_requests_of_a_day_differ_and_the_best_are_shown_most() -> None:
    shown = expose(ranking_of(np.linspace(0.3, 0.0, 30).tolist()), requests_of(200), Exposure(), 0)
    assert shown.groupby("request_id")["query"].agg(tuple).nunique() > 100
    counts = shown["query"].value_counts()
    assert counts["q0"] > counts["q9"] > 0  # within the top 12
    assert shown["query"].nunique() > 20  # and exploration reaches far below it


def test_columns_order_and_types_of_the_log() -> None:
    shown = expose(ranking_of(SCORES), requests_of(2), POLICY, seed=0)
    assert shown.columns.tolist() == [
        *("request_id", "user_id", "time", "position", "query", "source", "rank_score"),
        *("propensity", "explored"),
    ]
    assert shown["position"].tolist() == [1, 2, 3, 1, 2, 3]
    assert shown["explored"].dtype == bool
    scores = dict(zip(ranking_of(SCORES)["query"], SCORES, strict=True))
    assert shown["rank_score"].tolist() == [scores[query] for query in shown["query"]]


def test_no_requests_no_rows_and_no_ranking_is_an_error() -> None:
    assert len(expose(ranking_of(SCORES), requests_of(0), POLICY, seed=0)) == 0
    assert len(expose(ranking_of([]), requests_of(0), POLICY, seed=0)) == 0
    with pytest.raises(AigqError, match="user_id stranger has no ranking"):
        expose(ranking_of(SCORES), requests_of(1, "stranger"), POLICY, seed=0)


def test_exposure_limits() -> None:
    with pytest.raises(ValidationError, match="top_n"):
        Exposure(top_n=2)
    with pytest.raises(ValidationError, match="temperature"):
        Exposure(temperature=0.0)


def test_plackett_luce_by_hand() -> None:
    logits = np.log([[1.0, 2.0, 5.0], [1.0, 1.0, 1.0]])
    left = np.array([[True, True, False], [False, False, False]])
    assert plackett_luce(logits, left) == pytest.approx(np.array([[1 / 3, 2 / 3, 0], [0, 0, 0]]))


def test_a_tiny_temperature_does_not_overflow() -> None:
    slots = fill_slots(
        np.array([[0.9, 0.5, 0.1, 0.0]]),
        np.ones((1, 4), dtype=bool),
        np.array([[0.99, 0.5, 0.5, 0.5]]),  # slot 3 explores
        Exposure(top_n=3, temperature=1e-6),
    )
    # Exploit takes the best two. Slot 1: P = 2/3 (1 exploit) + 1/3 · 1/4. Slot 2, given that:
    # (1/3 · 1 · 1 + 1/3 · 1/4 · 1 + 1/3 · 1 · 1/3) / (3/4) = (19/36) / (3/4) = 19/27.
    assert slots.chosen[0, :2].tolist() == [0, 1]
    assert slots.propensity[0, :2] == pytest.approx([3 / 4, 19 / 27])


@pytest.mark.parametrize("slots", [1, 2, 3])
def test_chances_of_slots_are_those_of_all_pages(slots: int) -> None:
    """Every page is enumerated from the definition, by its probability."""
    draw = np.random.default_rng(slots)
    scores = -np.sort(-draw.random((3, 5)) * 0.2, axis=1)
    valid = np.arange(5) < np.array([[5], [4], [3]])
    found = slot_chances(scores, valid, slots, Exposure(top_n=3, temperature=0.05))
    for row in range(3):
        own = scores[row][valid[row]].tolist()
        reference, expected = Reference(own, 3, 0.05, slots), np.zeros((slots, 5))
        for page in permutations(range(len(own)), slots):
            expected[range(slots), page] += reference.page(page)
        np.testing.assert_allclose(found[row], expected, atol=1e-12)
        np.testing.assert_allclose(found[row].sum(axis=1), 1.0)


def test_of_long_pages_the_lower_slots_are_drawn() -> None:
    draw = np.random.default_rng(0)
    scores = -np.sort(-draw.random((2, 7)) * 0.2, axis=1)
    valid, exposure = np.ones(scores.shape, dtype=bool), Exposure(top_n=3, temperature=0.05)
    found = slot_chances(scores, valid, 5, exposure)
    np.testing.assert_allclose(found.sum(axis=2), 1.0)
    own, expected = scores[0].tolist(), np.zeros((5, 7))
    for page in permutations(range(7), 5):
        expected[range(5), page] += Reference(own, 5, 0.05, 5).page(page)
    np.testing.assert_allclose(found[0, :4], expected[:4], atol=1e-12)  # 7^3 beginnings at most
    np.testing.assert_allclose(found[0, 4], expected[4], atol=0.03)


def test_a_slot_that_nothing_is_left_for_has_no_chances() -> None:
    chances = slot_chances(np.zeros((1, 2)), np.ones((1, 2), dtype=bool), 3, Exposure(top_n=3))
    np.testing.assert_allclose(chances[0], [[0.5, 0.5], [0.5, 0.5], [0, 0]])


@pytest.mark.parametrize("slots", [1, 2, 5])
def test_a_page_may_have_any_number_of_slots(slots: int) -> None:
    draw = np.random.default_rng(slots)
    scores = -np.sort(-draw.random((40, 7)) * 0.2, axis=1)
    exposure, valid = Exposure(top_n=3, temperature=0.05), np.ones(scores.shape, dtype=bool)
    filled = fill_slots(scores, valid, draw.random((40, 1 + slots)), exposure)
    assert filled.chosen.shape == (40, slots)
    assert (filled.explored.sum(axis=1) == 1).all()
    # Of more slots than the top has ranks, as many ranks as slots: none is left without.
    for own, page, propensity in zip(scores, filled.chosen, filled.propensity, strict=True):
        reference = Reference(own.tolist(), max(3, slots), 0.05, slots)
        assert propensity.prod() == pytest.approx(reference.page(page.tolist()))
