"""What is remembered changes no answer."""

import numpy as np
import pandas as pd
from serving.test_requests import BEFORE, REQUESTS, TODAY, same, searched, stack  # noqa: F401

from aigq_tasks.serving.memo import RowMemo
from aigq_tasks.serving.stack import ReleaseStack


def test_rounds_answer_as_one_batch_would(stack: ReleaseStack) -> None:  # noqa: F811
    names = [source.name for source in stack.sources]
    together = stack.with_sources(names).asked(REQUESTS, TODAY)
    rounds = REQUESTS.groupby("user_id").cumcount()
    fresh = stack.with_sources(names)
    parts = [fresh.asked(own, TODAY) for _, own in REQUESTS.groupby(rounds)]
    by = ["request_id", "rank"]
    one = together.rankings.sort_values(by, ignore_index=True)
    many = pd.concat([own.rankings for own in parts]).sort_values(by, ignore_index=True)
    same(one, many)
    shown = one[one["rank"] == 1].rename(columns={"rank": "position"})
    for own in parts:
        mine = shown[shown["request_id"].isin(own.requests["request_id"])]
        same(own.features(mine), together.features(mine))


def test_another_day_so_far_is_another_state(stack: ReleaseStack) -> None:  # noqa: F811
    """The same number of behaviours at the same times, of other contents."""
    requests = REQUESTS[REQUESTS["user_id"] == "u0"].tail(1)
    at = requests["time"].item() - pd.Timedelta(minutes=5)
    first = stack.asked(requests, searched("u0", at, "jam")).rankings
    other = stack.asked(requests, searched("u0", at, "soap")).rankings
    assert "x2q" in set(first["source"])  # jam is a trigger
    assert first["query"].tolist() != other["query"].tolist()


def test_features_do_not_depend_on_what_was_scored(stack: ReleaseStack) -> None:  # noqa: F811
    requests = REQUESTS.head(3)
    shown = pd.DataFrame(
        {
            "request_id": requests["request_id"],
            "query": ["milk", "nobody knows", "jam"],
            "position": 2,
        }
    )
    before = stack.asked(requests, TODAY)
    alone = before.features(shown)
    assert len(before.rankings)
    same(before.features(shown), alone)


def test_rows_are_made_once() -> None:
    memo, asked = RowMemo(), []

    def make(users: list[str], queries: list[str]) -> np.ndarray:
        asked.extend(zip(users, queries, strict=True))
        return np.array([[len(u), len(q)] for u, q in asked[-len(users) :]], np.float32).reshape(
            -1, 2
        )

    first = memo.of(np.array([0, 1, 0]), ["a", "bb"], np.array([0, 0, 0]), ["tea"], make)
    assert first.tolist() == [[1, 3], [2, 3], [1, 3]]
    second = memo.of(np.array([0, 1]), ["bb", "a"], np.array([1, 0]), ["milk", "tea"], make)
    assert second.tolist() == [[2, 3], [1, 4]]
    assert sorted(asked) == [("a", "milk"), ("a", "tea"), ("bb", "tea")]
    assert memo.of(np.array([0]), ["bb"], np.array([0]), ["tea"], make).tolist() == [[2, 3]]
    assert len(asked) == 3
