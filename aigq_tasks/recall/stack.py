"""The production stack: candidates of all recall sources, ranked (`exposure` shows them)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aigq_tasks.context.queries import is_allowed
from aigq_tasks.errors import AigqError

TOP = 30  # length of a user's ranking
RRF_CONSTANT = 60  # Cormack, Clarke & Buettcher, SIGIR 2009

# (users, queries), n each -> float64 (n,): click probabilities, as a model has them.
Scorer = Callable[[Sequence[str], Sequence[str]], NDArray[np.float64]]


class RecallSource(Protocol):
    """Anything that proposes queries to users: popularity, coclick, own_history, ebr, u2q, x2q.

    What all of them promise is tested in `tests/recall/source_cases.py`.
    """

    @property
    def name(self) -> str:
        """What logs and metrics call it."""

    def recall(
        self, user_ids: Sequence[str], history: pd.DataFrame, as_of: pd.Timestamp, k: int
    ) -> dict[str, list[tuple[str, float]]]:
        """At most k (query, score) for each of distinct users, distinct queries, best first.

        Only behaviours before `as_of` are read; a user may get an empty list.
        """


@dataclass(frozen=True)
class HintStack:
    """What one release ranks for users, given their history.

    Attributes:
        sources: in order of preference: the first of two sources with equal rank is the one shown.
        per_source: candidates asked of each source.
        score: click probabilities (n,) of pairs user_ids[i], queries[i] at one fixed position; None
            while a release has no CTR model (launch), which ranks by reciprocal-rank fusion.
    """

    sources: Sequence[RecallSource]
    per_source: int
    score: Scorer | None = None

    def candidates(
        self, user_ids: Sequence[str], history: pd.DataFrame, as_of: pd.Timestamp
    ) -> pd.DataFrame:
        """Union of all sources, one row per user and query that may be shown.

        Args:
            user_ids: distinct users.
            history: behaviours (user_id, time, kind, content); those at or after as_of count not.

        Returns:
            user_id, query, source (best rank; the earlier source on a tie), sources (all that
            proposed it, in stack order, joined by "+"), fusion (see `_fusion`), sorted by user and
            query.
        """
        history = history[history["user_id"].isin(list(user_ids))]  # read by each source
        proposals = pd.DataFrame(
            [
                (user, query, number, rank)
                for number, source in enumerate(self.sources)
                for user, best in source.recall(user_ids, history, as_of, self.per_source).items()
                for rank, (query, _) in enumerate(best, start=1)
            ],
            columns=["user_id", "query", "source", "rank"],
        ).astype({"user_id": "str", "query": "str"})
        shown = [query for query in proposals["query"].unique() if is_allowed(query)]
        proposals = proposals[proposals["query"].isin(shown)]
        pair = proposals.groupby(["user_id", "query"]).ngroup()
        table = proposals[["user_id", "query"]].drop_duplicates()
        table = table.sort_values(["user_id", "query"], ignore_index=True)
        rank = np.full((len(table), len(self.sources)), np.inf)
        rank[pair, proposals["source"]] = proposals["rank"]
        names = np.array([source.name for source in self.sources], dtype=object)
        table["source"] = pd.Series(names[rank.argmin(axis=1)], dtype="str")
        table["sources"] = pd.Series(_joined(names, np.isfinite(rank)), dtype="str")
        table["fusion"] = _fusion(rank)
        return table

    def rank(
        self, user_ids: Sequence[str], history: pd.DataFrame, as_of: pd.Timestamp
    ) -> pd.DataFrame:
        """Each user's candidates (see there for the arguments), best first.

        rank_score is the click probability, or the fused reciprocal rank without a CTR model; ties
        go by query text.

        Returns:
            user_id, rank (1..TOP), query, source, rank_score (float64), sorted by user and rank.

        Raises:
            AigqError: the scorer returned another number of scores, or one that is not a number.
        """
        table = self.candidates(user_ids, history, as_of)
        scores = table["fusion"].to_numpy()
        if self.score:
            scores = self.score(table["user_id"].tolist(), table["query"].tolist())
            if scores.shape != (len(table),) or not np.isfinite(scores).all():
                raise AigqError("the click model gave no finite score for every candidate pair")
        table = table.assign(rank_score=scores).sort_values(
            ["user_id", "rank_score", "query"], ascending=[True, False, True]
        )
        table["rank"] = table.groupby("user_id").cumcount() + 1
        columns = ["user_id", "rank", "query", "source", "rank_score"]
        return table.loc[table["rank"] <= TOP, columns].reset_index(drop=True)


def _fusion(rank: NDArray[np.float64]) -> NDArray[np.float64]:
    """Reciprocal-rank fusion (candidates,) of ranks (candidates, sources), inf where not proposed.

    Mean over the sources of (c + 1) / (c + rank): Cormack et al.'s score with c = 60, scaled so
    that first place in every source gives 1.
    """
    fused: NDArray[np.float64] = ((RRF_CONSTANT + 1) / (RRF_CONSTANT + rank)).mean(axis=1)
    return fused


def _joined(names: NDArray[np.object_], proposed: NDArray[np.bool_]) -> list[str]:
    """The names proposed (candidates, sources) in each row, joined by "+"."""
    kinds, kind = np.unique(proposed, axis=0, return_inverse=True)
    joined = ["+".join(names[of_kind]) for of_kind in kinds]
    return [joined[i] for i in kind]
