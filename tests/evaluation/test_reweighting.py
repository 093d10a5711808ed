"""The hints of a log reweighted to another ranking: tables by hand, and logs that were drawn."""

import math
from collections.abc import Iterator, Sequence
from itertools import permutations

import numpy as np
import pandas as pd
import pytest

from aigq_tasks.evaluation.offpolicy import compare
from aigq_tasks.evaluation.reweighting import ClickModel, reweighted, slots_of
from aigq_tasks.recall.config import SLOTS, Exposure
from aigq_tasks.recall.exposure import expose, fill_slots

EXPOSURE = Exposure(top_n=3, temperature=1.0)
NOON = pd.Timestamp("2017-11-06 12:00")


def ranking(**scores: dict[str, float]) -> pd.DataFrame:
    """user=query -> rank score, best first, for the request of `page`."""
    rows = [
        (f"r-{user}", user, rank, query, "popularity", score)
        for user, own in scores.items()
        for rank, (query, score) in enumerate(own.items(), start=1)
    ]
    columns = ["request_id", "user_id", "rank", "query", "source", "rank_score"]
    return pd.DataFrame(rows, columns=columns)


def for_all(ranked: pd.DataFrame, requests: pd.DataFrame) -> pd.DataFrame:
    """The one ranking for each of the requests."""
    asked = requests[["request_id"]].drop_duplicates()
    return asked.merge(ranked.drop(columns="request_id"), "cross")


def page(user: str, *hints: tuple[int, str, bool]) -> pd.DataFrame:
    """(position, query, clicked) of one request; production showed each with propensity 0.25."""
    rows = pd.DataFrame(hints, columns=["position", "query", "clicked"])
    return rows.assign(request_id=f"r-{user}", user_id=user, propensity=0.25)


def predict(users: Sequence[str], queries: Sequence[str], positions: np.ndarray) -> np.ndarray:
    """milk 0.3, tea 0.2, rye 0.1, all else nothing, divided by the position."""
    value = {"milk": 0.3, "tea": 0.2, "rye": 0.1, "soap": 0.0}
    return np.array([value[query] for query in queries]) / positions


def test_by_hand() -> None:
    # Of three candidates with equal scores each is in every slot alike, whoever explores.
    produced = ranking(ann={"milk": 0.5, "soap": 0.5, "tea": 0.5})
    other = ranking(ann={"milk": 0.5, "rye": 0.5, "tea": 0.5})
    shown = page("ann", (1, "milk", True), (2, "soap", False), (3, "tea", False))
    rows = reweighted(shown, produced, other, predict, EXPOSURE)
    assert rows["clicks"].tolist() == [1.0, 0.0, 0.0]
    assert rows["logged"].tolist() == pytest.approx([1 / 3] * 3)
    assert rows["other"].tolist() == pytest.approx([1 / 3, 0.0, 1 / 3])  # it has no soap
    # (0.3 + 0.2 + 0.1) / 3, divided by the position; a third of it is rye, which production lacks.
    assert rows["expected"].tolist() == pytest.approx([0.2, 0.1, 0.2 / 3])
    assert rows["expected_shown"].tolist() == pytest.approx([0.3, 0.0, 0.2 / 3])
    assert rows["outside"].tolist() == pytest.approx([1 / 3] * 3)
    found = compare(slots_of(rows), floor=0, seed=0)
    # Weights 1, 0 and 1: 0.2 + (1 − 0.3) = 0.9; 0.1; 0.2 / 3 + (0 − 0.2 / 3) = 0.
    assert found.estimate.robust == pytest.approx(1 / 3)
    assert found.estimate.effective == pytest.approx(2.0)
    assert found.estimate.outside == pytest.approx(1 / 3)
    assert found.production == pytest.approx(1 / 3)


def test_users_pages_and_order_do_not_mix() -> None:
    produced = ranking(bob={"rye": 0.6, "tea": 0.5}, ann={"tea": 0.9, "milk": 0.5})
    other = ranking(bob={"tea": 0.9, "rye": 0.1}, ann={"milk": 0.5, "rye": 0.5, "tea": 0.5})
    ann = page("ann", (1, "milk", True), (2, "tea", False))
    bob = page("bob", (1, "tea", False), (2, "rye", True))
    stranger = page("eve", (1, "milk", True))  # nothing was ranked for her
    shown = pd.concat([bob.iloc[::-1], stranger, ann])
    together = reweighted(shown, produced, other, predict, EXPOSURE)
    for rows in (ann, bob):
        alone = reweighted(rows, produced, other, predict, EXPOSURE)
        own = together[together["user_id"] == rows["user_id"].iloc[0]]
        pd.testing.assert_frame_equal(
            own.sort_values("clicks", ignore_index=True),
            alone.sort_values("clicks", ignore_index=True),
            check_exact=False,
        )
    assert "eve" not in set(together["user_id"])


def test_without_hints_there_is_no_estimate() -> None:
    nobody = page("ann").astype({"user_id": "str"})
    rows = reweighted(nobody, ranking(), ranking(), predict, EXPOSURE)
    found = compare(slots_of(rows), floor=0, seed=0)
    assert (found.estimate.snips, found.estimate.robust, found.difference) == (None, None, None)


def test_a_hint_that_productions_ranking_does_not_hold_is_left_out() -> None:
    both = ranking(ann={"milk": 0.5, "tea": 0.4, "rye": 0.3})
    shown = page("ann", (1, "gem", True), (2, "tea", False))
    assert reweighted(shown, both, both, predict, EXPOSURE)["clicks"].tolist() == [0.0]


PRODUCED = {"rye": 1.0, "soap": 0.9, "milk": 0.5, "tea": 0.2, "jam": 0.1}
OTHER = {"milk": 1.0, "tea": 0.9, "jam": 0.5, "soap": 0.2, "rye": 0.1}
VALUE = {"milk": 0.5, "rye": 0.05, "tea": 0.3, "soap": 0.1, "jam": 0.2, "gem": 0.8}


def pages_of(scores: dict[str, float]) -> Iterator[tuple[tuple[str, ...], float]]:
    """Every page that a ranking may draw, with its probability: whoever explores draws uniformly
    of what is left, the others by their scores from those of the first three that are left."""
    queries = list(scores)
    for shown in permutations(queries, SLOTS):
        chance = 0.0
        for exploring in range(SLOTS):
            product, left = 1 / SLOTS, list(queries)
            for slot, query in enumerate(shown):
                weights = {q: math.exp(scores[q]) for q in queries[:3] if q in left}
                explored = 1 / len(left)
                exploited = weights.get(query, 0.0) / sum(weights.values())
                product *= explored if slot == exploring else exploited
                left.remove(query)
            chance += product
        yield shown, chance


def clicked(query: str, slot: int) -> float:
    """The true chance: of a query, halved from slot to slot."""
    return VALUE[query] / 2**slot


def value_of(scores: dict[str, float]) -> float:
    """The true clicks per hint of a ranking."""
    return sum(
        chance * sum(clicked(query, slot) for slot, query in enumerate(shown)) / SLOTS
        for shown, chance in pages_of(scores)
    )


def knows_nothing(users: Sequence[str], queries: Sequence[str], at: np.ndarray) -> np.ndarray:
    return np.full(len(queries), 0.2)


def knows_all(users: Sequence[str], queries: Sequence[str], at: np.ndarray) -> np.ndarray:
    return np.array([VALUE[query] for query in queries]) / 2.0 ** (at - 1)


def expected_estimate(other: dict[str, float], click: ClickModel) -> tuple[float, float]:
    """What the doubly robust estimate is in the mean over all pages that production may draw and
    all clicks on them; and the same of the weighted clicks alone."""
    robust = weighted = 0.0
    for shown, chance in pages_of(PRODUCED):
        hints = [(slot + 1, query, clicked(query, slot)) for slot, query in enumerate(shown)]
        rows = reweighted(
            page("ann", *hints), ranking(ann=PRODUCED), ranking(ann=other), click, EXPOSURE
        )
        weights = rows["other"] / rows["logged"]
        clicks = rows["expected"] + weights * (rows["clicks"] - rows["expected_shown"])
        robust += chance * clicks.mean()
        weighted += chance * (weights * rows["clicks"]).mean()
    return robust, weighted


@pytest.mark.parametrize("click", [knows_nothing, knows_all])
def test_over_all_pages_the_estimate_is_the_true_value(click: ClickModel) -> None:
    """By exact enumeration of all pages of both rankings, whatever the model knows."""
    assert sum(chance for _, chance in pages_of(OTHER)) == pytest.approx(1.0, abs=1e-12)
    for other in (OTHER, PRODUCED, {"tea": 0.3, "jam": 0.2, "rye": 0.1}):
        robust, weighted = expected_estimate(other, click)
        assert robust == pytest.approx(value_of(other), abs=1e-12)
        assert weighted == pytest.approx(value_of(other), abs=1e-12)
    # The worse one of two is judged worse, by what it is worse.
    assert value_of(OTHER) > value_of(PRODUCED) + 0.02


def test_what_production_cannot_show_is_the_models_word_alone() -> None:
    gem = {"gem": 0.9, "milk": 0.9, "tea": 0.9}
    robust, weighted = expected_estimate(gem, knows_all)
    assert robust == pytest.approx(value_of(gem), abs=1e-12)
    # A third of every slot is the gem: (0.8 - 0.2) / 3 is lost in slot 1, half and a quarter below.
    wrong, same = expected_estimate(gem, knows_nothing)
    lost = sum((clicked("gem", slot) - 0.2) / 3 for slot in range(SLOTS)) / SLOTS
    assert wrong == pytest.approx(value_of(gem) - lost, abs=1e-12)
    assert same == weighted


def world(requests: int, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Hints that production drew for one shopper with their clicks, and what it ranked."""
    asked = pd.DataFrame({"request_id": [f"r{n}" for n in range(requests)]})
    produced = for_all(ranking(ann=PRODUCED), asked)
    shown = expose(produced, asked.assign(user_id="ann", time=NOON), EXPOSURE, seed)
    chance = knows_all([], shown["query"].tolist(), shown["position"].to_numpy())
    clicks = np.random.default_rng(seed).random(len(shown)) < chance
    return shown.assign(clicked=clicks), produced


def test_production_itself_has_weights_of_one() -> None:
    shown, produced = world(500, seed=1)
    rows = reweighted(shown, produced, produced, knows_nothing, EXPOSURE)
    assert len(rows) == len(shown)
    np.testing.assert_allclose(rows["other"], rows["logged"], rtol=1e-9)
    found = compare(slots_of(rows), floor=0, seed=0)
    assert found.estimate.snips == pytest.approx(found.production)
    assert found.estimate.robust == pytest.approx(found.production)
    assert found.estimate.effective == pytest.approx(len(rows))
    assert found.estimate.outside == 0.0


def test_the_value_is_found_in_a_log() -> None:
    shown, produced = world(8000, seed=2)
    other = for_all(ranking(ann=OTHER), shown)
    rows = reweighted(shown, produced, other, knows_nothing, EXPOSURE)
    found = compare(slots_of(rows), floor=1000, seed=0)
    assert found.estimate.robust == pytest.approx(value_of(OTHER), abs=0.01)
    assert found.estimate.snips == pytest.approx(value_of(OTHER), abs=0.02)
    assert found.production == pytest.approx(value_of(PRODUCED), abs=0.01)
    assert compare(slots_of(rows), floor=1e9, seed=0).difference is None


def test_positions_are_any_numbers_from_one() -> None:
    """Pages of five slots, drawn by the ranking itself: every weight is 1, the deepest slot's too,
    whatever the log tells of the slots above."""
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

    ranked = for_all(ranked, shown)

    def by_position(
        users: Sequence[str], queries: Sequence[str], positions: np.ndarray
    ) -> np.ndarray:
        return 0.1 / positions

    rows = reweighted(shown, ranked, ranked, by_position, EXPOSURE)
    assert len(rows) == 1000
    np.testing.assert_allclose(rows["other"], rows["logged"], rtol=1e-9)
    np.testing.assert_allclose(rows["expected"], 0.1 / shown["position"])
    headless = reweighted(shown[shown["position"] != 2], ranked, ranked, by_position, EXPOSURE)
    assert len(headless) == 800
