"""Stage `think-samples`: the day's users as reasoned targets (paper 3.3, Eq 2 and 4; 3.4.2)."""

from datetime import date
from typing import TYPE_CHECKING, Any

import pandas as pd
from pydantic import Field

from aigq_tasks.context.interests import TargetLimits
from aigq_tasks.context.prompt import Histories, Shopper, profile_words
from aigq_tasks.pipeline.calendar import history
from aigq_tasks.pipeline.given import Given
from aigq_tasks.pipeline.reads import LanguageModel, Logs, Release, today
from aigq_tasks.pipeline.stage import Output, Slice, Stage
from aigq_tasks.samples.engine import EngineName, Execute, engine
from aigq_tasks.samples.holdout import held_out
from aigq_tasks.samples.sessions import LOG_COLUMNS
from aigq_tasks.serving.histories import BEHAVIOUR_TABLES, history_of
from aigq_tasks.serving.stack import classic_sources, classifier

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from aigq_tasks.teacher.teachers import Teacher


TARGET = set(TargetLimits.model_fields)


class ThinkSampleSlice(Slice):
    """seed: of who is held out. threads: of torch, for the stand-in's encoder.
    engine: both give the same tables."""

    seed: int
    threads: int
    labels: int
    generated: int
    history_lines: int
    holdout: float
    limits: TargetLimits
    engine: EngineName = Field(exclude=True)


def compute(given: Given, settings: ThinkSampleSlice, day: date) -> Output:
    """Prompt and reasoned target per user-day, held-out users left out."""
    from aigq_tasks.samples.think import judged_labels, think_samples

    log = given.logs("today")
    users = log["users"]
    kept = held_out(users["user_id"], day, settings.holdout, settings.seed)
    teacher = teacher_of(given, settings)
    with engine(settings.engine) as execute:
        tables = _tables(log)
        sessions = _sessions(tables, day, kept)
        heads = execute(sessions)
        shoppers = _shoppers(given, heads, users, settings.history_lines)
        proposed = teacher.candidates(shoppers, settings.generated)
        labels = _labels(tables, sessions, heads, proposed, settings.labels, execute)
    judged = judged_labels(shoppers, labels, teacher)
    samples = think_samples(heads, shoppers, judged, teacher, settings.limits)
    metrics: dict[str, float | str] = {
        "sessions": float(len(heads)),
        "samples": float(len(samples)),
        "held_out_users": float(len(kept)),
        **teacher.usage,
    }
    if len(samples):
        metrics["labels_mean"] = round(float(samples["labels"].str.len().mean()), 4)
        metrics["interests_mean"] = round(float(samples["triggers"].str.len().mean()), 4)
    return Output(tables={"samples": samples}, metrics=metrics, tags={"teacher": teacher.label})


def _shoppers(given: Given, heads: pd.DataFrame, users: pd.DataFrame, lines: int) -> list[Shopper]:
    """The sessions' users as known before their session begins."""
    histories, profiles = Histories.of(history_of(given, "history")), profile_words(users)
    return [
        histories.shopper(user, profiles.get(user, ""), time.to_datetime64(), lines)
        for user, time in zip(heads["user_id"], heads["time"], strict=True)
    ]


def teacher_of(given: Given, settings: ThinkSampleSlice) -> "Teacher":
    """The language model that the settings name, else the stand-in, from the release's co-click
    table and classifier and the sentence encoder."""
    from aigq_tasks.teacher.teachers import LlmTeacher, StandIn

    endpoint = given.teacher()
    if endpoint:
        return LlmTeacher(endpoint)
    from aigq_tasks.evaluation.encoder import SentenceEncoder
    from aigq_tasks.policy.backbone import NO_DRAWS, make_deterministic

    make_deterministic(NO_DRAWS, settings.threads)
    coclick: Any = classic_sources(given.release("recall"))["coclick"]
    classify = classifier(given.release("categories")).classify
    return StandIn(_shares(coclick.ties), SentenceEncoder(), classify, settings.limits.triggers)


def _shares(ties: pd.DataFrame) -> dict[str, dict[str, float]]:
    """content -> query -> co-click score over the best score of that content."""
    best = ties.groupby("content")["score"].transform("max")
    shares: dict[str, dict[str, float]] = {}
    for content, query, share in zip(
        ties["content"], ties["query"], ties["score"] / best, strict=True
    ):
        shares.setdefault(content, {})[query] = share
    return shares


def _tables(log: dict[str, pd.DataFrame]) -> "dict[str, ir.Table]":
    import ibis

    return {name: ibis.memtable(log[name][columns]) for name, columns in LOG_COLUMNS.items()}


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


THINK_SAMPLES = Stage(
    name="think-samples",
    needs=("s3", "mlflow"),
    reads=(
        Logs("history", BEHAVIOUR_TABLES, history),
        Logs("today", ("users", *LOG_COLUMNS), today),
        *(Release(kind) for kind in ("item-texts", "recall", "categories")),
        LanguageModel(),
    ),
    settings=lambda settings: ThinkSampleSlice(
        seed=settings.seed,
        threads=settings.threads,
        labels=settings.think.labels,
        generated=settings.think.generated,
        history_lines=settings.samples.history_lines,
        holdout=settings.samples.holdout,
        limits=TargetLimits(**settings.think.limits.model_dump(include=TARGET)),
        engine=settings.engine,
    ),
    compute=compute,
)
