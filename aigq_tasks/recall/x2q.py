"""x2q: from a trigger behaviour to queries (paper 4.2, Eq 19), and recall from that index.

The index is made by Ibis expressions: score(q | t) = γ · rel(t, q) + (1 − γ) · eff(q). Both parts
are built from whole numbers, which sum to the same in any order: the table is the same to the byte
on any engine and thread count.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pandas as pd

from aigq_tasks.recall.asked import (
    Asked,
    Ints,
    Proposals,
    RecallSource,
    Texts,
    latest_contents,
    runs_of,
)
from aigq_tasks.recall.config import IndexConfig

if TYPE_CHECKING:
    import ibis.expr.types as ir

UNIT = 1 << 20  # fixed point: weights and probabilities are counted in 1 / UNIT
RECENT = 10  # distinct contents of a user, the latest, that trigger queries


@dataclass(frozen=True)
class X2qSource(RecallSource):
    """Recall from a release's index: trigger, rank, query, score (`x2q_entries`)."""

    name: ClassVar[str] = "x2q"
    entries: pd.DataFrame

    def propose(self, asked: Asked, k: int) -> Proposals:
        """The k best queries of the latest RECENT contents before each request; a query that
        several of them trigger has its best score. Ties go by query text."""
        triggers, texts, query, start = self._index
        latest = latest_contents(asked, RECENT)
        owner, text = latest.asked, latest.text
        trigger = triggers.get_indexer(asked.memory.texts)[text]
        known = trigger >= 0
        owner, trigger = owner[known], trigger[known]
        hits = runs_of(start[trigger], start[trigger + 1])
        score = self.entries["score"].to_numpy(np.float64)[hits.rows]
        width = max(1, len(texts))
        key, pair = np.unique(owner[hits.owner] * width + query[hits.rows], return_inverse=True)
        best = np.full(len(key), -np.inf)
        np.maximum.at(best, pair, score)
        return Proposals.best(texts, key // width, key % width, best, np.arange(len(texts)), k)

    @cached_property
    def _index(self) -> tuple[pd.Index, Texts, Ints, Ints]:
        """Triggers, texts, the query of each entry, and the first entry of each trigger."""
        trigger, triggers = pd.factorize(self.entries["trigger"])  # sorted already
        query, texts = pd.factorize(self.entries["query"], sort=True)
        start = np.searchsorted(trigger, np.arange(len(triggers) + 1)).astype(np.int64)
        names = pd.Index(triggers, dtype=object)
        return names, np.array(texts, dtype=object), query.astype(np.int64), start


def x2q_entries(ties: "ir.Table", signals: "ir.Table", config: IndexConfig) -> "ir.Table":
    """The index: trigger, rank (1..depth), query, score; best query first, ties by text.

    ties: user_id, trigger, query, place: the reasoning of a user put the query at a place (1 is
    first) of a list whose trigger set holds this trigger. signals: query, views (page views),
    ctr (mean predicted click probability), for queries known; others count as 0 in both.

    rel(t, q) = Σ_u 1 / log2(1 + place of q for u) / (users of t + prior), the best place per
    user. eff(q) = (log(1 + views) / log(1 + most views) + ctr / highest ctr) / 2.
    """
    import ibis  # half a second, which recall from a finished index need not pay

    scored = _relevance(ties, config).left_join(_effect(signals), "query")
    score = config.gamma * scored.rel + (1 - config.gamma) * scored.eff.fill_null(0.0)
    scored = scored.select("trigger", "query", score=score.round(9))
    order = ibis.window(group_by="trigger", order_by=[ibis.desc("score"), "query"])
    ranked = scored.mutate(rank=ibis.row_number().over(order) + 1)
    kept = ranked.filter(ranked.rank <= config.depth)
    return kept.select("trigger", "rank", "query", "score").order_by(["trigger", "rank"])


def _relevance(ties: "ir.Table", config: IndexConfig) -> "ir.Table":
    """trigger, query, rel."""
    users = ties.group_by("trigger").aggregate(users=ties.user_id.nunique())
    best = ties.group_by(["trigger", "query", "user_id"]).aggregate(place=ties.place.min())
    weight = (UNIT / (best.place + 1).cast("float64").log2()).round().cast("int64")
    summed = best.mutate(weight=weight).group_by(["trigger", "query"])
    tied = summed.aggregate(weight=lambda row: row.weight.sum().cast("int64"))
    both = tied.inner_join(users, "trigger")
    rel = both.weight / UNIT / (both.users + config.prior)
    return both.select("trigger", "query", rel=rel)


def _effect(signals: "ir.Table") -> "ir.Table":
    """query, eff."""
    import ibis

    views = (1 + signals.views.cast("float64")).ln()
    whole = ibis.window()
    counts = signals.mutate(views_log=views, ctr_unit=(signals.ctr * UNIT).round().cast("int64"))
    seen = _share(counts.views_log, counts.views_log.max().over(whole))
    clicked = _share(counts.ctr_unit, counts.ctr_unit.max().over(whole))
    return counts.select("query", eff=(seen + clicked) / 2)


def _share(value: "ir.NumericColumn", most: "ir.NumericColumn") -> "ir.NumericColumn":
    """value / most; 0 where nothing has any."""
    import ibis

    share: ir.NumericColumn = ibis.ifelse(most > 0, value / most, 0.0)
    return share
