"""The hints of a log reweighted to another ranking: tables by hand, and logs that were drawn."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest

from aigq_tasks.evaluation.offpolicy import compare
from aigq_tasks.evaluation.reweighting import reweighted, slots_of
from aigq_tasks.recall.config import Exposure
from aigq_tasks.recall.exposure import expose, fill_slots

EXPOSURE = Exposure(top_n=3, temperature=1.0)
NOON = pd.Timestamp("2017-11-06 12:00")


def ranking(**scores: dict[str, float]) -> pd.DataFrame:
    """user=query -> rank score, best first."""
    rows = [
        (user, rank, query, "popularity", score)
        for user, own in scores.items()
        for rank, (query, score) in enumerate(own.items(), start=1)
    ]
    columns = ["user_id", "rank", "query", "source", "rank_score"]
    return pd.DataFrame(rows, columns=columns)


def page(user: str, *hints: tuple[int, str, bool]) -> pd.DataFrame:
    """(position, query, clicked) of one request; production showed each with propensity 0.25."""
    rows = pd.DataFrame(hints, columns=["position", "query", "clicked"])
    return rows.assign(request_id=f"r-{user}", user_id=user, propensity=0.25)


def predict(users: Sequence[str], queries: Sequence[str], positions: np.ndarray) -> np.ndarray:
    """milk 0.3, tea 0.2, rye 0.1, divided by the position."""
    value = {"milk": 0.3, "tea": 0.2, "rye": 0.1}
    return np.array([value[query] for query in queries]) / positions


def test_by_hand() -> None:
    # Equal scores: whoever explores, slot 1 is one of three, slot 2 one of the two that are left.
    other = ranking(ann={"milk": 0.5, "rye": 0.5, "tea": 0.5})
    shown = page("ann", (1, "milk", True), (2, "soap", False), (3, "tea", False))
    rows = reweighted(shown, other, predict, EXPOSURE)
    # The other ranking has no soap: it cannot have shown it, and what would follow is undefined.
    assert rows["clicks"].tolist() == [1.0, 0.0]
    assert rows["logged"].tolist() == [0.25, 0.25]
    assert rows["other"].tolist() == pytest.approx([1 / 3, 0.0])
    # Slot 1: (0.3 + 0.2 + 0.1) / 3; slot 2, after milk: (0.2 + 0.1) / 2, halved by the position.
    assert rows["expected"].tolist() == pytest.approx([0.2, 0.075])
    assert rows["expected_shown"].tolist() == pytest.approx([0.3, 0.0])
    found = compare(slots_of(rows), floor=0, seed=0)
    # Weights 4/3 and 0: 0.2 + 4/3 · (1 − 0.3) = 1.13333, and 0.075 + 0. One row counts.
    assert found.estimate.robust == pytest.approx((1.133333 + 0.075) / 2, abs=1e-6)
    assert found.estimate.effective == pytest.approx(1.0)
    assert found.production == 0.5


def test_users_pages_and_order_do_not_mix() -> None:
    other = ranking(bob={"tea": 0.9, "rye": 0.1}, ann={"milk": 0.5, "rye": 0.5, "tea": 0.5})
    ann = page("ann", (1, "milk", True), (2, "tea", False))
    bob = page("bob", (1, "tea", False), (2, "rye", True))
    stranger = page("eve", (1, "milk", True))  # nothing was ranked for her
    together = reweighted(pd.concat([bob.iloc[::-1], stranger, ann]), other, predict, EXPOSURE)
    for rows in (ann, bob):
        alone = reweighted(rows, other, predict, EXPOSURE).sort_values("clicks", ignore_index=True)
        own = together[together["user_id"] == rows["user_id"].iloc[0]]
        pd.testing.assert_frame_equal(
            own.sort_values("clicks", ignore_index=True), alone, check_exact=False
        )
    assert "eve" not in set(together["user_id"])


def test_without_hints_there_is_no_estimate() -> None:
    rows = reweighted(page("ann").astype({"user_id": "str"}), ranking(), predict, EXPOSURE)
    found = compare(slots_of(rows), floor=0, seed=0)
    assert (found.estimate.snips, found.estimate.robust, found.difference) == (None, None, None)


def world(requests: int, seed: int) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, float]]:
    """Hints that production drew for one shopper, what it ranked, and the true click chances."""
    truth = {"milk": 0.5, "rye": 0.05, "tea": 0.3, "soap": 0.1, "jam": 0.2}
    produced = ranking(ann={"rye": 1.0, "soap": 0.9, "milk": 0.5, "tea": 0.2, "jam": 0.1})
    asked = pd.DataFrame({"request_id": [f"r{n}" for n in range(requests)]})
    shown = expose(produced, asked.assign(user_id="ann", time=NOON), EXPOSURE, seed)
    chance = shown["query"].map(truth).to_numpy()
    clicked = np.random.default_rng(seed).random(len(shown)) < chance
    return shown.assign(clicked=clicked), produced, truth


def test_production_itself_has_weights_of_one() -> None:
    shown, produced, _ = world(500, seed=1)
    rows = reweighted(shown, produced, lambda users, q, p: np.full(len(q), 0.2), EXPOSURE)
    assert len(rows) == len(shown)
    np.testing.assert_allclose(rows["other"], rows["logged"], rtol=1e-9)
    found = compare(slots_of(rows), floor=0, seed=0)
    assert found.estimate.snips == pytest.approx(found.production)
    assert found.estimate.robust == pytest.approx(found.production)
    assert found.estimate.effective == pytest.approx(len(rows))


def test_a_wrong_model_costs_variance_not_truth() -> None:
    """The truth: what the true click chances give for the same pages under the other ranking."""
    shown, _, truth = world(8000, seed=2)
    other = ranking(ann={"milk": 1.0, "tea": 0.9, "jam": 0.5, "soap": 0.2, "rye": 0.1})
    exact = reweighted(shown, other, lambda u, q, p: np.array([truth[x] for x in q]), EXPOSURE)
    rows = reweighted(shown, other, lambda u, q, p: np.full(len(q), 0.2), EXPOSURE)
    found = compare(slots_of(rows), floor=1000, seed=0)
    assert found.estimate.robust == pytest.approx(exact["expected"].mean(), abs=0.015)
    assert exact["expected"].mean() > found.production + 0.02
    assert compare(slots_of(rows), floor=1e9, seed=0).difference is None


def test_what_production_could_not_show_is_covered_by_the_model() -> None:
    shown, _, truth = world(3000, seed=3)
    other = ranking(ann={"gem": 0.9, "milk": 0.9, "tea": 0.9})
    gem = truth | {"gem": 0.8}
    rows = reweighted(shown, other, lambda u, q, p: np.array([gem[x] for x in q]), EXPOSURE)
    found = compare(slots_of(rows), floor=0, seed=0)
    assert found.estimate.robust == pytest.approx(rows["expected"].mean(), abs=0.02)
    first = rows["expected"].iloc[0]
    assert first == pytest.approx((0.8 + 0.5 + 0.3) / 3)


def test_positions_are_any_numbers_from_one() -> None:
    """Pages of five slots, drawn by the ranking itself: every weight is 1, the deepest slot's too.
    Nothing is said of a slot whose slots above the log does not tell."""
    draw = np.random.default_rng(4)
    ranked = ranking(ann={f"query {n}": 1 - n / 8 for n in range(8)})
    scores = np.tile(ranked["rank_score"].to_numpy(), (200, 1))
    slots = fill_slots(scores, np.ones((200, 8), dtype=bool), draw.random((200, 6)), EXPOSURE)
    page_of, slot = np.nonzero(slots.filled)
    shown = pd.DataFrame(
        {
            "request_id": [f"r{n}" for n in page_of],
            "user_id": "ann",
            "position": slot + 1,
            "query": ranked["query"].to_numpy()[slots.chosen.ravel()],
            "clicked": draw.random(1000) < 0.1,
            "propensity": slots.propensity.ravel(),
        }
    )

    def by_position(
        users: Sequence[str], queries: Sequence[str], positions: np.ndarray
    ) -> np.ndarray:
        return 0.1 / positions

    rows = reweighted(shown, ranked, by_position, EXPOSURE)
    assert len(rows) == 1000
    np.testing.assert_allclose(rows["other"], rows["logged"], rtol=1e-9)
    np.testing.assert_allclose(rows["expected"], 0.1 / shown["position"])
    headless = reweighted(shown[shown["position"] != 2], ranked, by_position, EXPOSURE)
    assert len(headless) == 200  # position 1 alone
