"""What a release shows a user, and what a trigger leads to in it."""

from collections.abc import Sequence
from datetime import date, datetime, time

import pandas as pd

from aigq_tasks.context.queries import normalize
from aigq_tasks.errors import AigqError
from aigq_tasks.pipeline.calendar import before
from aigq_tasks.pipeline.context import Context
from aigq_tasks.pipeline.reading import logs_of, model, need, stored, table
from aigq_tasks.serving.histories import BEHAVIOUR_TABLES
from aigq_tasks.serving.indexes import U2Q, X2Q, connect, get_u2q, lookup_x2q, version_of
from aigq_tasks.serving.requests import answering
from aigq_tasks.serving.stack import STACK_KINDS, release_stack
from aigq_tasks.storage.ledger import Entry

SHOWN = 10  # of a ranking, and of what a trigger leads to


def serving_entry(ctx: Context, day: date | None) -> Entry:
    """The release that serves `day`, or the newest. AigqError before the first."""
    entry = ctx.ledger.current() if day is None else ctx.ledger.live_on(day)
    if entry is None:
        raise AigqError("nothing is released yet: run 'aigq demo'")
    return entry


def written_list(ctx: Context, day: date, user: str | None = None) -> tuple[str, list[str]]:
    """What the day's u2q holds for a user, best first, though no release serves it yet; without a
    name for the first user by id. AigqError while there is no u2q of the day."""
    rows = table(ctx, need(ctx, "u2q", day), "u2q").sort_values(["user_id", "rank"])
    shown = rows[rows["user_id"] == (user or rows["user_id"].iloc[0])]
    return str(shown["user_id"].iloc[0]), shown["query"].tolist()


def cached_list(ctx: Context, entry: Entry, user: str) -> list[str]:
    """The user's u2q list, best first, from Valkey, as serving reads it; [] without one."""
    with connect(ctx.settings.valkey.url) as client:
        cached = get_u2q(client, version_of(entry.models[U2Q]), user)
    return [query for query, _ in cached.queries] if cached else []


def ranking_rows(
    ctx: Context, entry: Entry, user: str, day: date, at: time | None = None
) -> list[dict[str, str]]:
    """What all sources of the release together rank for the user on `day`: the first SHOWN hints;
    when the day begins, or `at` a time of it, with what the log of the day holds until then.
    The models are loaded for it, which takes seconds."""
    settings = ctx.settings
    stack = release_stack(
        {
            kind: stored(ctx, model(ctx, entry, kind))
            for kind in STACK_KINDS
            if kind in entry.models
        },
        logs_of(ctx, before(ctx.moment(day)), BEHAVIOUR_TABLES),
        day,
        settings.recall.candidates,
        settings.ctr.own_brand,
    )
    moment = datetime.combine(day, at or time())
    request = pd.DataFrame({"request_id": [user], "user_id": [user], "time": [moment]})
    so_far = logs_of(ctx, [day], BEHAVIOUR_TABLES) if at else {}
    serve = answering(stack, entry.served, settings.exposure, settings.seed)
    ranked = serve(request.astype({"time": "datetime64[us]"}), so_far).rankings
    return [
        {
            "rank": str(hint.rank),
            "query": str(hint.query),
            "source": str(hint.source),
            "score": f"{hint.rank_score:.4f}",
        }
        for hint in ranked.head(SHOWN).itertuples(index=False)
    ]


def lookup_rows(ctx: Context, entry: Entry, triggers: Sequence[str]) -> list[dict[str, str]]:
    """What the release's x2q index holds for each trigger, as serving reads it: the first SHOWN
    queries of each. AigqError for a release without one."""
    if X2Q not in entry.models:
        raise AigqError(f"release {entry.number} ({entry.day}) has no x2q index")
    asked = [normalize(trigger) for trigger in triggers]
    with connect(ctx.settings.valkey.url) as client:
        found = lookup_x2q(client, version_of(entry.models[X2Q]), asked)
    rows = []
    for trigger, queries in found.items():
        for rank, (query, score) in enumerate(queries[:SHOWN], 1):
            rows.append(_led(trigger, str(rank), query, f"{score:.4f}"))
        if not queries:
            rows.append(_led(trigger, "-", "not a trigger of this release", "-"))
    return rows


def _led(trigger: str, rank: str, query: str, score: str) -> dict[str, str]:
    return {"trigger": trigger, "rank": rank, "query": query, "score": score}
