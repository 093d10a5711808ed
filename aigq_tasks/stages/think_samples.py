"""Stage `think-samples`: the day's users as reasoned targets (paper 3.3, Eq 2 and 4; 3.4.2)."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd

from aigq_tasks.context.prompt import Shopper, profile_words
from aigq_tasks.samples.holdout import held_out
from aigq_tasks.stages.context import Context
from aigq_tasks.stages.reading import (
    live_entry,
    model,
    need,
    table,
)
from aigq_tasks.stages.runner import StageOutput
from aigq_tasks.stages.samples import SamplesStage
from aigq_tasks.stages.serving import classic_sources, classifier
from aigq_tasks.storage.engine import Execute, engine
from aigq_tasks.storage.ledger import Entry
from aigq_tasks.storage.tables import to_parquet

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from aigq_tasks.teacher.teachers import Teacher


@dataclass(frozen=True)
class ThinkSamplesStage(SamplesStage):
    """think-samples(D): prompt and reasoned target per user-day of D, held-out users left out."""

    name: ClassVar[str] = "think-samples"

    def config(self, ctx: Context) -> dict[str, Any]:
        settings = ctx.settings
        return {
            "seed": settings.seed,
            "threads": settings.policy.threads,
            "history_days": settings.market.history_days,
            "history_lines": settings.samples.history_lines,
            "holdout": self._holdout(ctx),
            "labels": settings.think.labels,
            "generated": settings.think.generated,
            "limits": settings.think.limits.model_dump(),
            "teacher": settings.teacher.model_dump(include={"model", "seed", "max_tokens"}),
            "stand_in": not settings.teacher.url,
        }

    def compute(self, ctx: Context, day: date) -> StageOutput:
        from aigq_tasks.samples.think import judged_labels, think_samples

        think, users = ctx.settings.think, table(ctx, need(ctx, "market", day), "users")
        kept = held_out(users["user_id"], day, self._holdout(ctx), ctx.settings.seed)
        teacher = make_teacher(ctx, live_entry(ctx, day))
        with engine(ctx.settings.engine) as execute:
            logs = _logs(ctx, day)
            sessions = _sessions(logs, day, kept)
            heads = execute(sessions)
            shoppers = self._shoppers(ctx, day, heads, profile_words(users))
            proposed = teacher.candidates(shoppers, think.generated)
            labels = _labels(logs, sessions, heads, proposed, think.labels, execute)
        judged = judged_labels(shoppers, labels, teacher)
        samples = think_samples(heads, shoppers, judged, teacher, think.limits)
        metrics: dict[str, float | str] = {
            "sessions": float(len(heads)),
            "samples": float(len(samples)),
            "held_out_users": float(len(kept)),
            **teacher.usage,
        }
        if len(samples):
            metrics["labels_mean"] = round(float(samples["labels"].str.len().mean()), 4)
            metrics["interests_mean"] = round(float(samples["triggers"].str.len().mean()), 4)
        return StageOutput(
            files={"samples.parquet": to_parquet(samples)},
            metrics=metrics,
            tags={"teacher": teacher.label},
        )

    def _shoppers(
        self, ctx: Context, day: date, heads: pd.DataFrame, profiles: Mapping[str, str]
    ) -> list[Shopper]:
        """The sessions' users as known before their session begins."""
        histories = self._histories(ctx, day)
        limit = ctx.settings.samples.history_lines
        return [
            histories.shopper(user, profiles.get(user, ""), time.to_datetime64(), limit)
            for user, time in zip(heads["user_id"], heads["time"], strict=True)
        ]


def make_teacher(ctx: Context, entry: Entry) -> "Teacher":
    """The language model that the settings name, else the stand-in, from the release's co-click
    table and classifier and the sentence encoder."""
    from aigq_tasks.teacher.endpoint import Endpoint
    from aigq_tasks.teacher.teachers import LlmTeacher, StandIn

    if ctx.settings.teacher.url:
        return LlmTeacher(Endpoint(ctx.settings.teacher, ctx.store))
    from aigq_tasks.evaluation.encoder import SentenceEncoder
    from aigq_tasks.policy.backbone import make_deterministic

    make_deterministic(ctx.settings.policy.seed, ctx.settings.policy.threads)
    coclick: Any = classic_sources(ctx, model(ctx, entry, "recall"))["coclick"]
    return StandIn(_shares(coclick.neighbours), SentenceEncoder(), classifier(ctx, entry).classify)


def _shares(ties: pd.DataFrame) -> dict[str, dict[str, float]]:
    """content -> query -> co-click score over the best score of that content."""
    best = ties.groupby("content")["score"].transform("max")
    shares: dict[str, dict[str, float]] = {}
    for content, query, share in zip(
        ties["content"], ties["query"], ties["score"] / best, strict=True
    ):
        shares.setdefault(content, {})[query] = share
    return shares


def _logs(ctx: Context, day: date) -> "dict[str, ir.Table]":
    import ibis

    from aigq_tasks.samples.sessions import LOG_COLUMNS

    market = need(ctx, "market", day)
    return {name: ibis.memtable(table(ctx, market, name)[own]) for name, own in LOG_COLUMNS.items()}


def _sessions(logs: "dict[str, ir.Table]", day: date, held: set[str]) -> "ir.Table":
    from aigq_tasks.samples.sessions import kept_sessions, think_sessions

    found = think_sessions(
        logs["hint_impressions"], logs["searches"], logs["item_clicks"], day.isoformat()
    )
    return kept_sessions(found, held)


def _labels(
    logs: "dict[str, ir.Table]",
    sessions: "ir.Table",
    heads: pd.DataFrame,
    proposed: list[list[str]],
    size: int,
    execute: Execute,
) -> list[pd.DataFrame]:
    """query, tier per session, best first, in the order of heads (the sessions, executed)."""
    import ibis

    from aigq_tasks.samples.labels import label_lists, think_candidates

    places = [
        (user, place, query)
        for user, own in zip(heads["user_id"], proposed, strict=True)
        for place, query in enumerate(own, 1)
    ]
    generated = pd.DataFrame(places, columns=["user_id", "place", "query"]).astype(
        {"user_id": "str", "place": "int64", "query": "str"}
    )
    candidates = think_candidates(
        sessions,
        logs["hint_impressions"],
        logs["searches"],
        logs["hint_rankings"],
        ibis.memtable(generated),
    )
    found = label_lists(candidates, size, execute)
    none = pd.DataFrame({"query": [], "tier": []})
    return [found.get(session, none) for session in heads["session_id"]]
