"""Stage 1 of sample construction: sessions (paper 3.3.1, Eq 2), as Ibis expressions.

A session says whose intent is modelled and from when on: what happened before `time` is context,
what happened in it becomes labels. Tables are those of the canonical log (`logs.schema`), of one
day.
"""

from collections.abc import Set

import ibis
import ibis.expr.types as ir

COLUMNS = ("session_id", "user_id", "time")
# What both stages of sample construction read of each log table.
LOG_COLUMNS = {
    "hint_impressions": ["user_id", "time", "request_id", "position", "query", "clicked"],
    "hint_rankings": ["request_id", "user_id", "rank", "query"],
    "searches": ["event_id", "user_id", "time", "query"],
    "item_clicks": ["user_id", "time"],
}


def direct_sessions(impressions: ir.Table) -> ir.Table:
    """session_id, user_id, time: every exposure (one request, three hints) with a click."""
    clicked = impressions.filter(impressions.clicked)
    groups = clicked.group_by(["request_id", "user_id"]).aggregate(time=clicked.time.min())
    return groups.select("user_id", "time", session_id="request_id").select(*COLUMNS)


def think_sessions(
    impressions: ir.Table, searches: ir.Table, item_clicks: ir.Table, day: str
) -> ir.Table:
    """session_id, user_id, time: the whole day of every user who gave feedback on it (a search
    or a click on a hint), from the user's first event on (Eq 2)."""
    seen = impressions.select("user_id", "time", feedback=impressions.clicked)
    searched = searches.select("user_id", "time", feedback=ibis.literal(True))
    looked = item_clicks.select("user_id", "time", feedback=ibis.literal(False))
    events = ibis.union(seen, searched, looked)
    days = events.group_by("user_id").aggregate(
        time=events.time.min(), feedback=events.feedback.any()
    )
    kept = days.filter(days.feedback)
    return kept.mutate(session_id=kept.user_id + "|" + day).select(*COLUMNS)


def kept_sessions(sessions: ir.Table, held_out: Set[str]) -> ir.Table:
    """The sessions of the users who are not held out, in order of (time, session_id)."""
    if held_out:  # joined: a list of 15,000 users in the SQL text took a minute
        users = ibis.memtable({"user_id": sorted(held_out)})
        sessions = sessions.anti_join(users, "user_id")
    return sessions.order_by(["time", "session_id"])
