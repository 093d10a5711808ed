"""Stages of AIGQ-Think: its samples (paper 3.3, Eq 2 and 4; 3.4.2, Eq 7) and its IL-SFT."""

from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from aigq_tasks.context.prompt import Histories, profile_words
from aigq_tasks.context.queries import normalize
from aigq_tasks.context.tokens import think_tokens
from aigq_tasks.samples.holdout import held_out
from aigq_tasks.stages.context import Context
from aigq_tasks.stages.reading import (
    days_between,
    live_entry,
    log_window,
    model,
    need,
    read_behaviours,
    release_digest,
    stack_day,
    table,
    window_digest,
)
from aigq_tasks.stages.runner import StageOutput
from aigq_tasks.stages.serving import classic_sources, classifier
from aigq_tasks.stages.texts import Embedding
from aigq_tasks.storage.canonical import to_json
from aigq_tasks.storage.ledger import Entry
from aigq_tasks.storage.tables import to_parquet

if TYPE_CHECKING:
    from aigq_tasks.teacher.teachers import Teacher

LOGS = ("hint_impressions", "hint_rankings", "searches", "item_clicks", "users")


@dataclass(frozen=True)
class ThinkSamplesStage:
    """think-samples(D): prompt and reasoned target per user-day of D, held-out users left out.

    holdout: share of users left out; None for the setting, 0 for days that no gate judges."""

    holdout: float | None = None
    name: ClassVar[str] = "think-samples"
    needs: ClassVar[tuple[str, ...]] = ("s3", "mlflow")

    def inputs(self, ctx: Context, day: date) -> dict[str, str]:
        return {
            "logs": window_digest(log_window(ctx, day)),
            "release": release_digest(live_entry(ctx, day)),
        }

    def config(self, ctx: Context) -> dict[str, Any]:
        settings = ctx.settings
        return {
            "seed": settings.seed,
            "history_days": settings.market.history_days,
            "history_lines": settings.samples.history_lines,
            "holdout": self._holdout(ctx),
            "labels": settings.think.labels,
            "generated": settings.think.generated,
            "interests": settings.think.limits.interests,
            "teacher": settings.teacher.model_dump(include={"model", "seed", "max_tokens"}),
            "stand_in": not settings.teacher.url,
        }

    def compute(self, ctx: Context, day: date) -> StageOutput:
        from aigq_tasks.samples.think import judged_labels, think_cases, think_samples

        think = ctx.settings.think
        logs = {name: table(ctx, need(ctx, "market", day), name) for name in LOGS}
        kept = held_out(logs["users"]["user_id"], day, self._holdout(ctx), ctx.settings.seed)
        sessions = _sessions(logs, day, kept)
        history = read_behaviours(ctx, log_window(ctx, day))
        cases = think_cases(
            sessions,
            profile_words(logs["users"]),
            Histories.of(history),
            ctx.settings.samples.history_lines,
        )
        teacher = make_teacher(ctx, live_entry(ctx, day), _texts(logs, history))
        proposed = teacher.candidates(cases, think.generated)
        labels = _labels(logs, sessions, proposed, think.labels)
        judged = judged_labels(cases, labels, teacher)
        samples = think_samples(sessions, cases, judged, teacher, think.limits.interests)
        metrics: dict[str, float | str] = {
            "sessions": float(len(sessions)),
            "samples": float(len(samples)),
            "held_out_users": float(len(kept)),
            **getattr(teacher, "usage", {}),
        }
        if len(samples):
            metrics["labels_mean"] = round(float(samples["labels"].str.len().mean()), 4)
            metrics["interests_mean"] = round(float(samples["triggers"].str.len().mean()), 4)
        return StageOutput(
            files={"samples.parquet": to_parquet(samples)},
            metrics=metrics,
            tags={"teacher": teacher.label},
        )

    def _holdout(self, ctx: Context) -> float:
        return ctx.settings.samples.holdout if self.holdout is None else self.holdout


def make_teacher(ctx: Context, entry: Entry, texts: pd.Series) -> "Teacher":
    """The language model that the settings name, else the stand-in, from the release's co-click
    table and classifier. texts: all that the stand-in will compare."""
    from aigq_tasks.teacher.endpoint import Endpoint
    from aigq_tasks.teacher.teachers import LlmTeacher, StandIn

    if ctx.settings.teacher.url:
        return LlmTeacher(Endpoint(ctx.settings.teacher, ctx.store))
    categories = classifier(ctx, entry)
    coclick: Any = classic_sources(ctx, model(ctx, entry, "recall"))["coclick"]
    neighbours: dict[str, dict[str, float]] = {}
    ties = coclick.neighbours
    for content, query, score in zip(ties["content"], ties["query"], ties["score"], strict=True):
        neighbours.setdefault(content, {})[query] = score
    shares = {
        content: {query: score / max(own.values()) for query, score in own.items()}
        for content, own in neighbours.items()
    }
    needed = pd.concat([texts, ties["query"]])
    categories.classify(sorted(needed.unique()))  # one batch fills the memo
    embedding = Embedding(ctx, entry, needed)
    return StandIn(shares, embedding, lambda query: categories.classify([query])[0])


def _sessions(logs: dict[str, pd.DataFrame], day: date, held: set[str]) -> pd.DataFrame:
    import ibis

    from aigq_tasks.samples.sessions import think_sessions

    found = think_sessions(
        ibis.memtable(logs["hint_impressions"][["user_id", "time", "clicked"]]),
        ibis.memtable(logs["searches"][["user_id", "time"]]),
        ibis.memtable(logs["item_clicks"][["user_id", "time"]]),
        day.isoformat(),
    )
    rows: pd.DataFrame = found.order_by("session_id").to_pandas()
    return rows[~rows["user_id"].isin(held)].reset_index(drop=True)


def _labels(
    logs: dict[str, pd.DataFrame],
    sessions: pd.DataFrame,
    proposed: list[list[str]],
    size: int,
) -> list[pd.DataFrame]:
    """query, tier per session, best first, in the order of the sessions."""
    import ibis

    from aigq_tasks.samples.labels import rerank, think_candidates

    users = sessions["user_id"].tolist()
    rows = [
        (user, place, query)
        for user, own in zip(users, proposed, strict=True)
        for place, query in enumerate(own, 1)
    ]
    generated = pd.DataFrame(rows, columns=["user_id", "place", "query"]).astype(
        {"user_id": "str", "place": "int64", "query": "str"}
    )
    shown = ["user_id", "time", "request_id", "position", "query", "clicked"]
    candidates = think_candidates(
        ibis.memtable(sessions),
        ibis.memtable(logs["hint_impressions"][shown]),
        ibis.memtable(logs["searches"]),
        ibis.memtable(logs["hint_rankings"][["user_id", "rank", "query"]]),
        ibis.memtable(generated),
    )
    ranked = rerank(candidates, size).to_pandas()
    groups = dict(list(ranked.groupby("session_id")[["query", "tier"]]))
    return [groups.get(session, ranked.iloc[:0]) for session in sessions["session_id"]]


def _texts(logs: dict[str, pd.DataFrame], history: pd.DataFrame) -> pd.Series:
    """Every normalised text that a label or a history line of the day may hold."""
    asked = pd.concat(
        [
            logs["searches"]["query"],
            logs["hint_rankings"]["query"],
            logs["hint_impressions"]["query"],
        ]
    )
    texts: pd.Series = pd.concat([history["content"], asked.map(normalize)])
    return texts


class ThinkSftStage:
    """IL-SFT (Eq 5, 8-9) from the backbone on the reasoned samples of the bootstrap days."""

    name = "think"
    needs: tuple[str, ...] = ("s3", "mlflow")

    def inputs(self, ctx: Context, day: date) -> dict[str, str]:
        return {"samples": window_digest(need(ctx, "think-samples", d) for d in _days(ctx, day))}

    def config(self, ctx: Context) -> dict[str, Any]:
        policy, think = ctx.settings.policy, ctx.settings.think
        return {
            "backbone": policy.backbone,
            "seed": policy.seed,
            "threads": policy.threads,
            "history_lines": ctx.settings.samples.history_lines,
            "samples": think.bootstrap_samples,
            **think.sft.model_dump(),
        }

    def compute(self, ctx: Context, day: date) -> StageOutput:
        from aigq_tasks.policy.backbone import load_backbone, make_deterministic, save_policy
        from aigq_tasks.policy.il_sft import train_il_sft
        from aigq_tasks.policy.training import PolicySample

        policy, think = ctx.settings.policy, ctx.settings.think
        make_deterministic(policy.seed, policy.threads)
        days = [table(ctx, need(ctx, "think-samples", d), "samples") for d in _days(ctx, day)]
        rows = pd.concat(days, ignore_index=True).tail(think.bootstrap_samples)
        samples = [
            PolicySample(user, prompt, [str(query) for query in labels], target)
            for user, prompt, labels, target in zip(
                rows["user_id"], rows["prompt"], rows["labels"], rows["target"], strict=True
            )
        ]
        tokens = think_tokens(ctx.settings.samples.history_lines)
        network, tokenizer = load_backbone(policy.backbone, tokens)
        history = train_il_sft(network, tokenizer, samples, think.sft, policy.seed)
        losses = [step["loss"] for step in history if "loss" in step]
        metrics: dict[str, float | str] = {
            "samples": float(len(rows)),
            "steps": float(len(losses)),
            "loss_first": round(float(np.mean(losses[:10])), 6),
            "loss_last": round(float(np.mean(losses[-10:])), 6),
            "backbone": policy.backbone,
        }
        output = save_policy(network, tokenizer) | {"history.json": to_json(history)}
        return StageOutput(files=output, metrics=metrics)


def _days(ctx: Context, day: date) -> list[date]:
    return days_between(stack_day(ctx) + timedelta(days=1), day)
