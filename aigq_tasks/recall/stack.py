"""The production stack: candidates of all recall sources, ranked (`exposure` shows them)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd

from aigq_tasks.context.queries import is_allowed
from aigq_tasks.errors import AigqError
from aigq_tasks.recall.asked import (
    Asked,
    Floats,
    Ints,
    RecallSource,
    Texts,
    rank_in_group,
    runs_of,
)
from aigq_tasks.recall.clusters import Embed
from aigq_tasks.recall.config import Candidates
from aigq_tasks.recall.likeness import Meanings, spread

DEFAULT = Candidates()
TOP = 30  # length of a ranking
RRF_CONSTANT = 60  # Cormack, Clarke & Buettcher, SIGIR 2009

# (users, queries), n each -> float64 (n,): click probabilities, as a model has them.
Scorer = Callable[[Sequence[str], Sequence[str]], Floats]
# (request of each pair, query of each pair as a number in texts, texts) -> click probabilities.
PairScorer = Callable[[Ints, Ints, Texts], Floats]


@dataclass(frozen=True)
class Pool:
    """Candidates, one row per request and query, in order of both.

    Attributes:
        texts: distinct queries in order; `text` counts in it.
        rank: in each source, float64 (rows, sources); inf where it did not propose the query.
        names: of the sources.
    """

    asked: Ints
    text: Ints
    texts: Texts
    rank: Floats
    names: Texts

    @property
    def source(self) -> Texts:
        """The source of the best rank; the earlier one on a tie."""
        named: Texts = self.names[self.rank.argmin(axis=1)]
        return named

    @property
    def fusion(self) -> Floats:
        """Reciprocal-rank fusion: the mean over the sources of (c + 1) / (c + rank), Cormack et
        al.'s score with c = 60, scaled so that first place in every source gives 1."""
        fused: Floats = ((RRF_CONSTANT + 1) / (RRF_CONSTANT + self.rank)).mean(axis=1)
        return fused


@dataclass(frozen=True)
class HintStack:
    """What one release ranks for requests.

    Attributes:
        sources: in order of preference: the first of two sources with equal rank is the one shown.
        score: click probabilities of pairs at one fixed position; None while a release has no CTR
            model (launch), which ranks by reciprocal-rank fusion.
        embed: what queries mean; None: only words tell near-duplicates.
        remembered: `pool` by somebody who keeps what was asked before.
    """

    sources: Sequence[RecallSource]
    config: Candidates = DEFAULT
    score: PairScorer | None = None
    embed: Embed | None = None
    remembered: "Callable[[HintStack, Asked], Pool] | None" = None

    def pool(self, asked: Asked) -> Pool:
        """The union of what the sources propose for each request and may be shown."""
        found = [one.propose(asked, self.config.of(one.name)) for one in self.sources]
        named = [texts_of(own.texts, own.text) for own in found]
        every = np.concatenate([np.empty(0, object), *(texts for texts, _ in named)])
        code, texts = pd.factorize(every, sort=True)
        starts = np.cumsum([0, *(len(texts) for texts, _ in named)])
        shown = np.array([allowed(text) for text in texts], bool)
        request = np.concatenate([np.empty(0, np.int64), *(own.asked for own in found)])
        query = np.concatenate(
            [
                np.empty(0, np.int64),
                *(code[start:][text] for start, (_, text) in zip(starts[:-1], named, strict=True)),
            ]
        )
        rank = np.concatenate([np.empty(0, np.int64), *(own.rank for own in found)])
        source = np.repeat(np.arange(len(found)), [len(own.asked) for own in found])
        kept = shown[query]
        width = max(1, len(texts))
        key, pair = np.unique(request[kept] * width + query[kept], return_inverse=True)
        ranks = np.full((len(key), len(found)), np.inf)
        ranks[pair, source[kept]] = rank[kept]
        names = np.array([one.name for one in self.sources], dtype=object)
        return Pool(key // width, key % width, np.asarray(texts, dtype=object), ranks, names)

    def ranked(self, asked: Asked) -> pd.DataFrame:
        """What each request is offered, best first.

        Sources are asked once for a user who has done nothing between two requests
        (`Asked.states`); the score is each request's own. rank_score is the click probability, or
        the fused reciprocal rank without a CTR model, less what `likeness.spread` takes off; ties
        go by query text.

        Returns:
            request (number in `asked`), rank (1..TOP), query, source, rank_score (float64), sorted
            by request and rank.

        Raises:
            AigqError: the scorer returned another number of scores, or one that is not a number.
        """
        states, state = asked.states
        pool = self.remembered(self, states) if self.remembered else self.pool(states)
        start = np.searchsorted(pool.asked, np.arange(len(states) + 1))
        runs = runs_of(start[state], start[state + 1])
        score = pool.fusion[runs.rows]
        if self.score:
            score = self.score(runs.owner, pool.text[runs.rows], pool.texts)
            if score.shape != runs.rows.shape or not np.isfinite(score).all():
                raise AigqError("the click model gave no finite score for every candidate pair")
        column = rank_in_group(runs.owner)
        width = int(column.max(initial=-1)) + 1
        scores = np.full((len(asked), width), -np.inf)
        texts = np.zeros((len(asked), width), np.int64)
        scores[runs.owner, column] = score
        texts[runs.owner, column] = pool.text[runs.rows]
        order, value = spread(scores, texts, self._meanings(pool.texts), self.config, TOP)
        request, rank = np.nonzero(order >= 0)
        row = runs.rows[runs.starts[request] + order[request, rank]]
        return pd.DataFrame(
            {
                "request": request,
                "rank": rank + 1,
                "query": pd.Series(pool.texts[pool.text[row]], dtype="str"),
                "source": pd.Series(pool.source[row], dtype="str"),
                "rank_score": value[request, rank],
            }
        )

    def rank(
        self, user_ids: Sequence[str], history: pd.DataFrame, as_of: pd.Timestamp
    ) -> pd.DataFrame:
        """`ranked` for distinct users at one moment: user_id, rank, query, source, rank_score,
        sorted by user and rank. history: behaviours; those at or after `as_of` count not."""
        users = sorted(user_ids)
        table = self.ranked(Asked.at(history, users, as_of))
        names = np.array(users, dtype=object)[table.pop("request").to_numpy()]
        table.insert(0, "user_id", pd.Series(names, dtype="str"))
        return table

    def _meanings(self, texts: Texts) -> Meanings:
        named = texts.tolist()
        nothing = np.zeros((len(named), 1), np.float32)
        return Meanings.of(named, self.embed(named) if self.embed and named else nothing)


def texts_of(texts: Texts, number: Ints) -> tuple[Texts, Ints]:
    """Of numbered texts those that occur, and the numbers in these."""
    used, code = np.unique(number, return_inverse=True)
    return texts[used], code.astype(np.int64)


@lru_cache(maxsize=200_000)
def allowed(text: str) -> bool:
    """`context.queries.is_allowed`, remembered."""
    return is_allowed(text)
