"""x2q: from a trigger behaviour to queries (paper 4.2, Eq 19), as Ibis expressions.

score(q | t) = γ · rel(t, q) + (1 − γ) · eff(q). Both parts are built from whole numbers, which
sum to the same in any order: the table is the same to the byte on any engine and thread count.
"""

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    import ibis.expr.types as ir

UNIT = 1 << 20  # fixed point: weights and probabilities are counted in 1 / UNIT


class X2qConfig(BaseModel):
    """Weights of Eq 19, and what goes into the index."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    gamma: float = Field(0.7, ge=0, le=1, description="γ: weight of relevance against effect")
    depth: int = Field(30, ge=1, description="queries kept per trigger")
    days: int = Field(7, ge=1, description="days that what was reasoned for a user counts")
    prior: float = Field(2.0, ge=0, description="users that a tie is shrunk by; views likewise")


def x2q_entries(ties: "ir.Table", signals: "ir.Table", config: X2qConfig) -> "ir.Table":
    """The index: trigger, rank (1..depth), query, score; best query first, ties by text.

    ties: user_id, trigger, query, place: the reasoning of a user put the query at a place (1 is
    first) of a list whose trigger set holds this trigger. signals: query, views (page views),
    ctr (mean predicted click probability), for queries known; others count as 0 in both.

    rel(t, q) = Σ_u 1 / log2(1 + place of q for u) / (users of t + prior), the best place per
    user. eff(q) = (log(1 + views) / log(1 + most views) + ctr / highest ctr) / 2.
    """
    import ibis  # half a second, which settings (they hold X2qConfig) need not pay

    scored = _relevance(ties, config).left_join(_effect(signals), "query")
    score = config.gamma * scored.rel + (1 - config.gamma) * scored.eff.fill_null(0.0)
    scored = scored.select("trigger", "query", score=score.round(9))
    order = ibis.window(group_by="trigger", order_by=[ibis.desc("score"), "query"])
    ranked = scored.mutate(rank=ibis.row_number().over(order) + 1)
    kept = ranked.filter(ranked.rank <= config.depth)
    return kept.select("trigger", "rank", "query", "score").order_by(["trigger", "rank"])


def _relevance(ties: "ir.Table", config: X2qConfig) -> "ir.Table":
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
    known = signals.mutate(views_log=views, ctr_unit=(signals.ctr * UNIT).round().cast("int64"))
    seen = _share(known.views_log, known.views_log.max().over(whole))
    clicked = _share(known.ctr_unit, known.ctr_unit.max().over(whole))
    return known.select("query", eff=(seen + clicked) / 2)


def _share(value: "ir.NumericColumn", most: "ir.NumericColumn") -> "ir.NumericColumn":
    """value / most; 0 where nothing has any."""
    import ibis

    share: ir.NumericColumn = ibis.ifelse(most > 0, value / most, 0.0)
    return share
