"""Stage 2 of sample construction: labels, re-ranked by reliability (paper 3.3.2, Eq 3-4).

Both variants do the same: candidates of several tiers, the most reliable tier first, inside a
tier by place; each query once, at its best place. They differ in which tiers there are. Ibis
expressions.
"""

import ibis
import ibis.expr.types as ir
import pandas as pd

from aigq_tasks.samples.engine import Execute

CLICKED, SEARCHED, RANKED, GENERATED = range(4)  # tiers, from feedback to guesses
_PLACES = 1 << 32  # more than there are places in a tier


def direct_candidates(sessions: ir.Table, impressions: ir.Table, rankings: ir.Table) -> ir.Table:
    """Eq 3: the clicked hints of the exposure, then what production ranked for the user."""
    return ibis.union(
        _tier(CLICKED, sessions, _clicks(impressions), "session_id"),
        _tier(RANKED, sessions, _ranks(rankings), "user_id"),
    )


def think_candidates(
    sessions: ir.Table,
    impressions: ir.Table,
    searches: ir.Table,
    rankings: ir.Table,
    generated: ir.Table,
) -> ir.Table:
    """Eq 4: the hints clicked that day, then the day's searches anywhere, then what production
    ranked, then what a language model proposed (generated: user_id, place, query)."""
    order = ibis.window(group_by="user_id", order_by=["time", "event_id"])
    asked = searches.mutate(place=ibis.row_number().over(order))
    return ibis.union(
        _tier(CLICKED, sessions, _clicks(impressions), "user_id"),
        _tier(SEARCHED, sessions, asked, "user_id"),
        _tier(RANKED, sessions, _ranks(rankings), "user_id"),
        _tier(GENERATED, sessions, generated, "user_id"),
    )


def rerank(candidates: ir.Table, size: int) -> ir.Table:
    """session_id, rank (1..size), query, tier: the candidates ordered by (tier, place, query),
    each normalised query once, empty ones dropped."""
    texts = candidates.select("query").distinct()  # each is normalised once
    texts = texts.mutate(name=normalized(texts.query))
    named = candidates.inner_join(texts.filter(texts.name != ""), "query")
    before = named.tier * _PLACES + named.place  # (tier, place) as one number
    best = named.group_by("session_id", query=named.name).aggregate(before=before.min())
    order = ibis.window(group_by="session_id", order_by=["before", "query"])
    ranked = best.mutate(rank=ibis.row_number().over(order) + 1)
    kept = ranked.filter(ranked.rank <= size)
    tier = (kept.before // _PLACES).cast("int64")
    return kept.select("session_id", "rank", "query", tier=tier).order_by(["session_id", "rank"])


def label_lists(candidates: ir.Table, size: int, execute: Execute) -> dict[str, pd.DataFrame]:
    """session_id -> query, tier: `rerank`, executed; a session without a label is missing."""
    ranked = execute(rerank(candidates, size))
    groups = ranked.groupby("session_id", sort=False)[["query", "tier"]]
    return {str(session): rows for session, rows in groups}


def normalized(text: ir.StringColumn) -> ir.StringColumn:
    """`context.queries.normalize` as an expression."""
    # Engines differ in one letter that becomes ASCII: DuckDB lowers it to i, the others to i + dot.
    text = text.replace("\u0130", "i\u0307")
    return text.lower().re_replace("[^a-z0-9]+", " ").strip()


def _clicks(impressions: ir.Table) -> ir.Table:
    """user_id, session_id, place, query of the clicked hints, in the order they were shown."""
    clicked = impressions.filter(impressions.clicked)
    order = ibis.window(group_by="user_id", order_by=["time", "request_id", "position"])
    placed = clicked.mutate(place=ibis.row_number().over(order))
    return placed.select("user_id", "place", "query", session_id="request_id")


def _ranks(rankings: ir.Table) -> ir.Table:
    return rankings.select("user_id", "query", place="rank")


def _tier(tier: int, sessions: ir.Table, rows: ir.Table, key: str) -> ir.Table:
    """session_id, tier, place, query: the rows that belong to a session by the key."""
    rows = rows.select(key, "place", "query")
    joined = sessions.select(*dict.fromkeys(["session_id", key])).inner_join(rows, key)
    return joined.select(
        "session_id",
        "query",
        tier=ibis.literal(tier, "int64"),
        place=joined.place.cast("int64"),
    )
