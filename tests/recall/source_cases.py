"""What every recall source promises, as tests: subclass `RecallSourceCases` for a new source.

class TestPopularity(RecallSourceCases):
    @staticmethod
    def build(history: pd.DataFrame, as_of: pd.Timestamp) -> RecallSource:
        return popularity.build(history, as_of)
"""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from aigq_tasks.context.queries import is_allowed, normalize
from aigq_tasks.recall.asked import Asked, Memory, RecallSource, microseconds
from aigq_tasks.recall.config import Candidates
from aigq_tasks.recall.stack import HintStack

AS_OF = pd.Timestamp("2025-03-01")
CONTENTS = ("milk", "oat milk", "jam", "tea", "green tea", "rye bread", "x" * 41, "heroin")


def behaviours(*rows: tuple[str, float, str, str]) -> pd.DataFrame:
    """(user, age in days at AS_OF, kind, content)."""
    return pd.DataFrame(
        [(user, AS_OF - pd.Timedelta(days=age), kind, text) for user, age, kind, text in rows],
        columns=["user_id", "time", "kind", "content"],
    ).astype({"user_id": "str", "time": "datetime64[us]", "kind": "str", "content": "str"})


def some_history(users: int = 12) -> pd.DataFrame:
    """Behaviours of some weeks, no two at the same time; each user has favourites. Two contents
    may not be shown: one is too long, one is on the blocklist."""
    draw = np.random.default_rng(0)
    rows = []
    for user in range(users):
        taste = draw.permutation(len(CONTENTS))
        for _ in range(int(draw.integers(4, 30))):
            content = CONTENTS[taste[min(int(draw.geometric(0.4)) - 1, len(CONTENTS) - 1)]]
            kind = draw.choice(["search", "item_click", "hint_click"], p=[0.5, 0.4, 0.1])
            rows.append((f"u{user}", float(draw.random() * 40), str(kind), content))
    return behaviours(*rows).sort_values(["user_id", "time"], ignore_index=True)


HISTORY = some_history()
FUTURE = behaviours(
    *[(f"u{n}", -0.2 - n / 100, "search", "swiss cheese") for n in range(12)],
    *[(f"u{n}", -0.4 - n / 100, "item_click", "rye bread") for n in range(12)],
    ("u1", 0.0, "search", "swiss cheese"),  # at the moment itself is not before it
)
USERS = [f"u{n}" for n in range(12)]
STRANGERS = ["nobody", "ünal"]
Recalled = dict[str, list[tuple[str, float]]]


class RecallSourceCases:
    """Scores may differ in the last digits with the company that a user is asked in, where `exact`
    is False; the queries never."""

    exact = True

    @staticmethod
    def build(history: pd.DataFrame, as_of: pd.Timestamp) -> RecallSource:
        """A source that knows the users of `some_history`."""
        raise NotImplementedError

    @staticmethod
    def files(source: Any) -> dict[str, bytes]:
        """The source as it is stored."""
        stored: dict[str, bytes] = source.to_files()
        return stored

    @staticmethod
    def restore(files: dict[str, bytes], like: Any) -> RecallSource:
        """The source that files hold, one of the kind of `like`."""
        restored: RecallSource = type(like).from_files(files)
        return restored

    @pytest.fixture(scope="class")
    @classmethod
    def source(cls) -> RecallSource:
        return cls.build(HISTORY, AS_OF)

    @pytest.fixture(scope="class")
    @classmethod
    def recalled(cls, source: RecallSource) -> Recalled:
        return source.recall([*USERS, *STRANGERS], HISTORY, AS_OF, 30)

    def assert_same(self, first: Recalled, second: Recalled) -> None:
        if self.exact:
            assert first == second
            return
        assert first.keys() == second.keys()
        for user, best in first.items():
            assert [query for query, _ in second[user]] == [query for query, _ in best]
            scores = [score for _, score in best]
            assert [score for _, score in second[user]] == pytest.approx(scores, rel=1e-4)

    def test_it_answers_for_whom_it_is_asked(self, recalled: Recalled) -> None:
        assert list(recalled) == [*USERS, *STRANGERS]
        assert any(recalled[user] for user in USERS)

    def test_distinct_queries_best_first(self, recalled: Recalled) -> None:
        for best in recalled.values():
            queries, scores = [query for query, _ in best], [score for _, score in best]
            assert len(set(queries)) == len(queries)
            assert scores == sorted(scores, reverse=True)
            assert all(query and normalize(query) == query for query in queries)
            assert all(isinstance(score, float) for score in scores)

    @pytest.mark.parametrize("k", [0, 1, 2, 5])
    def test_the_first_k_of_a_longer_list(
        self, source: RecallSource, recalled: Recalled, k: int
    ) -> None:
        fewer = source.recall([*USERS, *STRANGERS], HISTORY, AS_OF, k)
        self.assert_same(fewer, {user: best[:k] for user, best in recalled.items()})

    def test_the_same_again(self, source: RecallSource, recalled: Recalled) -> None:
        assert source.recall([*USERS, *STRANGERS], HISTORY, AS_OF, 30) == recalled
        again = self.build(HISTORY, AS_OF)
        assert again.recall([*USERS, *STRANGERS], HISTORY, AS_OF, 30) == recalled
        assert self.files(again) == self.files(source)

    def test_order_does_not_matter(self, source: RecallSource, recalled: Recalled) -> None:
        """That of the users who are asked for, and that of the rows it is built from."""
        backwards = source.recall([*USERS, *STRANGERS][::-1], HISTORY, AS_OF, 30)
        self.assert_same(recalled, backwards)
        assert self.files(self.build(HISTORY.iloc[::-1], AS_OF)) == self.files(source)

    def test_company_does_not_change_an_answer(
        self, source: RecallSource, recalled: Recalled
    ) -> None:
        for user in (USERS[1], STRANGERS[0]):
            alone = source.recall([user], HISTORY, AS_OF, 30)
            self.assert_same(alone, {user: recalled[user]})

    def test_the_future_is_never_read(self, source: RecallSource, recalled: Recalled) -> None:
        both = pd.concat([HISTORY, FUTURE], ignore_index=True)
        assert source.recall([*USERS, *STRANGERS], both, AS_OF, 30) == recalled
        assert self.files(self.build(both, AS_OF)) == self.files(source)

    def test_without_a_history_or_a_user_there_is_no_error(self, source: RecallSource) -> None:
        assert source.recall([], HISTORY, AS_OF, 5) == {}
        assert list(source.recall(USERS, behaviours(), AS_OF, 5)) == USERS

    def test_what_comes_later_changes_no_earlier_request(self, source: RecallSource) -> None:
        """Requests at every behaviour of some users: whatever else happens later, shuffled away or
        not, each is answered as if the log ended with it."""
        memory, own = Memory.of(HISTORY), HISTORY[HISTORY["user_id"].isin(USERS[:3])]
        moment = microseconds(own["time"])
        asked = Asked.of(memory, own["user_id"].tolist(), moment)
        together = source.propose(asked, 5)
        for i, (user, time) in enumerate(zip(own["user_id"], own["time"], strict=True)):
            alone = source.recall([user], HISTORY[HISTORY["time"] < time], time, 5)
            rows = together.asked == i
            queries = together.texts[together.text[rows]].tolist()
            mine = {user: list(zip(queries, together.score[rows].tolist(), strict=True))}
            self.assert_same(alone, mine)

    def test_files_round_trip(self, source: RecallSource, recalled: Recalled) -> None:
        files = self.files(source)
        again = self.restore(files, source)
        assert self.files(again) == files
        assert again.recall([*USERS, *STRANGERS], HISTORY, AS_OF, 30) == recalled

    def test_the_stack_shows_none_that_may_not_be_shown(self, source: RecallSource) -> None:
        """A source may propose anything that the log holds: the stack is what keeps the rules."""
        stack = HintStack((source,), Candidates(per_source=30))
        shown = stack.rank(USERS, HISTORY, AS_OF)
        assert len(shown)
        assert shown["query"].map(is_allowed).all()
        assert set(shown["source"]) == {source.name}
