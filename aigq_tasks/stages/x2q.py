"""Stage `x2q`: reason over the day's users, and index what leads to what (paper 4.2, Eq 19)."""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import pandas as pd

from aigq_tasks.context.prompt import Histories, HistoryLine, profile_words, render_think_prompt
from aigq_tasks.context.queries import is_allowed
from aigq_tasks.recall.x2q_source import RECENT
from aigq_tasks.stages.context import Context
from aigq_tasks.stages.reading import (
    files,
    live_entry,
    log_window,
    model,
    need,
    read_behaviours,
    read_logs,
    release_digest,
    table,
    window_digest,
)
from aigq_tasks.stages.runner import StageOutput
from aigq_tasks.stages.serving import ctr_scorer
from aigq_tasks.storage.manifests import Manifest
from aigq_tasks.storage.tables import to_parquet

if TYPE_CHECKING:
    from aigq_tasks.policy.think import ParsedThink

VIEW_DAYS = 14  # page views that count for a query's effect
Lines = Mapping[str, Sequence[HistoryLine]]


class X2qStage:
    """trigger → queries, from what AIGQ-Think writes for the users of the day at its end."""

    name = "x2q"
    needs: tuple[str, ...] = ("s3", "mlflow")

    def inputs(self, ctx: Context, day: date) -> dict[str, str]:
        return {
            "think": self.think(ctx, day).digest,
            "ctr": need(ctx, "ctr", day).digest,
            "release": release_digest(live_entry(ctx, day)),
            "logs": window_digest(log_window(ctx, day)),
        }

    def config(self, ctx: Context) -> dict[str, Any]:
        settings = ctx.settings
        return {
            "threads": settings.policy.threads,
            "history_lines": settings.samples.history_lines,
            "history_days": settings.market.history_days,
            "batch_size": settings.generation.batch_size,
            "limits": settings.think.limits.model_dump(),
            **settings.x2q.model_dump(),
        }

    def think(self, ctx: Context, day: date) -> Manifest:
        """The reasoning model: that of the release which served the day."""
        return model(ctx, live_entry(ctx, day), "think")

    def compute(self, ctx: Context, day: date) -> StageOutput:
        import ibis

        from aigq_tasks.recall.x2q import x2q_entries

        users = table(ctx, need(ctx, "market", day), "users")
        history = read_behaviours(ctx, log_window(ctx, day))
        lines = lines_at(ctx, users["user_id"], history, day + timedelta(days=1))
        written = reason(ctx, self.think(ctx, day), users, lines)
        ties = ties_of(written, lines)
        scorer = ctr_scorer(
            ctx, live_entry(ctx, day), need(ctx, "ctr", day), day + timedelta(days=1)
        )
        signals = _signals(ctx, day, ties, scorer)
        entries: pd.DataFrame = x2q_entries(
            ibis.memtable(ties), ibis.memtable(signals), ctx.settings.x2q
        ).to_pandas()
        metrics = _metrics(entries, written, lines) | self._churn(ctx, day, entries)
        return StageOutput(files={"x2q.parquet": to_parquet(entries)}, metrics=metrics)

    def _churn(self, ctx: Context, day: date, entries: pd.DataFrame) -> dict[str, float]:
        """Share of the parent release's (trigger, query) pairs that are gone."""
        parent = live_entry(ctx, day)
        if "x2q" not in parent.models:
            return {}
        old = table(ctx, model(ctx, parent, "x2q"), "x2q")[["trigger", "query"]]
        kept = len(old.merge(entries, on=["trigger", "query"]))
        return {"churn": round(1 - kept / max(1, len(old)), 6)}


def lines_at(ctx: Context, users: pd.Series, history: pd.DataFrame, now: date) -> Lines:
    """user -> history lines before the start of the day `now`; only users who have any."""
    histories, limit = Histories.of(history), ctx.settings.samples.history_lines
    found = {str(user): histories.lines(user, pd.Timestamp(now), limit) for user in users}
    return {user: lines for user, lines in sorted(found.items()) if lines}


def reason(
    ctx: Context, think: Manifest, profiles: pd.DataFrame, lines: Lines
) -> "dict[str, ParsedThink]":
    """user -> what the stored Think policy writes for the user's history lines."""
    from aigq_tasks.policy.backbone import load_policy, make_deterministic
    from aigq_tasks.policy.think_generate import generate_think

    settings = ctx.settings
    make_deterministic(settings.policy.seed, settings.policy.threads)
    network, tokenizer = load_policy(files(ctx, think))
    words = profile_words(profiles)
    written = generate_think(
        network,
        tokenizer,
        [render_think_prompt(words.get(user, ""), own) for user, own in lines.items()],
        [len(own) for own in lines.values()],
        settings.think.limits,
        settings.generation.batch_size,
        progress=True,
    )
    return dict(zip(lines, written, strict=True))


def ties_of(written: "Mapping[str, ParsedThink]", lines: Lines) -> pd.DataFrame:
    """user_id, trigger, query, place: every trigger of an interest point with every query of it
    (paper 4.2). Queries that may not be shown are left out."""
    rows = [
        (user, lines[user][trigger - 1].content, query, place)
        for user, parsed in written.items()
        for interest in parsed.interests.values()
        for trigger in interest.triggers
        for place, query in enumerate(interest.queries, 1)
        if is_allowed(query)
    ]
    kinds = {"user_id": "str", "trigger": "str", "query": "str", "place": "int64"}
    return pd.DataFrame(rows, columns=list(kinds)).astype(kinds)


def _signals(ctx: Context, day: date, ties: pd.DataFrame, scorer: Any) -> pd.DataFrame:
    """query, views, ctr: page views of the last days, and the mean click probability that the
    day's model predicts for the users whose reasoning led to the query."""
    pairs = ties[["user_id", "query"]].drop_duplicates().sort_values(["user_id", "query"])
    predicted = pairs.assign(ctr=scorer(pairs["user_id"].tolist(), pairs["query"].tolist()))
    window = log_window(ctx, day, VIEW_DAYS)
    views = read_logs(ctx, window, ("hint_impressions",))["hint_impressions"]["query"]
    signals = predicted.groupby("query", as_index=False)["ctr"].mean()
    counted = signals["query"].map(views.value_counts()).fillna(0).astype("int64")
    known: pd.DataFrame = signals.assign(views=counted)[["query", "views", "ctr"]]
    return known


def _metrics(
    entries: pd.DataFrame, written: "Mapping[str, ParsedThink]", lines: Lines
) -> dict[str, float | str]:
    triggers = set(entries["trigger"])
    hit = [any(line.content in triggers for line in own[-RECENT:]) for own in lines.values()]
    valid = [parsed.valid for parsed in written.values()]
    return {
        "users": float(len(written)),
        "valid_outputs": round(sum(valid) / max(1, len(valid)), 6),
        "triggers": float(len(triggers)),
        "entries": float(len(entries)),
        "depth_mean": round(len(entries) / max(1, len(triggers)), 4),
        "coverage": round(sum(hit) / max(1, len(hit)), 6),
    }
