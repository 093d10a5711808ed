"""Stage `servable`: can what the day made answer? Its models are loaded anew, from S3.

The second verdict before a release. `gate` asks whether the lists are good; this asks, in a
process that trained nothing, whether the release can be served at all: for a few canary users
the policy writes what the cache holds, AIGQ-Think reasons, the index answers, the stack ranks.

It measures time, so it is no function of its inputs alone, and a refusal is never final: a slow
machine gets faster, a lost object is restored, and the same release is tried again.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pandas as pd

from aigq_tasks.context.interests import ThinkLimits
from aigq_tasks.context.prompt import Shopper
from aigq_tasks.context.queries import is_allowed
from aigq_tasks.errors import AigqError, ServiceAbsent
from aigq_tasks.pipeline.calendar import history, renews_think
from aigq_tasks.pipeline.given import Given, Stored
from aigq_tasks.pipeline.reads import Logs, Release, Result, today
from aigq_tasks.pipeline.stage import Output, Slice, Stage
from aigq_tasks.recall.config import Candidates
from aigq_tasks.serving.histories import BEHAVIOUR_TABLES, history_of, shoppers_at
from aigq_tasks.serving.lists import Writing, generate, reason, writing
from aigq_tasks.serving.stack import STACK_KINDS, Models, release_stack
from aigq_tasks.stages.gate import ALWAYS_NEW, served_by

SAME = 0.8  # share of a canary's list that the cache must hold
# What a release is tried on. A variant that tries a release as it is, no day's results, reads each
# of them under the bare kind, and no gate.
KINDS = ("direct", "think", *STACK_KINDS)
KEPT = tuple(kind for kind in KINDS if kind not in ALWAYS_NEW)  # unless a verdict lets it go


class ServableSlice(Slice):
    """canaries: users that the release is tried on; reasoned: of them, those that AIGQ-Think
    reasons for. max_seconds: median CPU time to rank one of them."""

    canaries: int
    reasoned: int
    max_seconds: float
    candidates: Candidates
    list_length: int
    history_lines: int
    own_brand: tuple[str, ...]
    limits: ThinkLimits
    writing: Writing


@dataclass(frozen=True)
class Trial:
    """A release that is tried at the end of a day. logs: up to and with the day."""

    models: Models
    logs: Mapping[str, pd.DataFrame]
    day: date
    settings: ServableSlice


def compute(given: Given, settings: ServableSlice, day: date) -> Output:
    """Verdict with reasons; `publish` refuses what is not servable."""
    reasons = faults(given, Trial(tried_models(given), given.logs("history"), day, settings))
    return Output(
        records={"servable.json": {"servable": not reasons, "reasons": reasons}},
        metrics={"servable": float(not reasons)},
        tags={"servable_reasons": "; ".join(reasons)},
    )


def tried_models(given: Given) -> dict[str, Stored]:
    """The models of the release that is tried: what the day's results make of the one that it
    started from."""
    if not given.has("gate"):
        return {kind: given.result(kind) for kind in KINDS}
    verdict = given.result("gate").record("verdict.json")
    made = {kind: given.result(stage) for kind, stage in served_by(verdict).items()}
    return {kind: given.release(kind) for kind in KEPT} | made


def faults(given: Given, trial: Trial) -> list[str]:
    """Why a release cannot serve the day after, in words; [] if it can. ServiceAbsent when S3 does
    not answer: that says nothing about the release."""
    try:
        users = trial.models["u2q"].table("u2q")["user_id"].unique()
    except ServiceAbsent:
        raise
    except AigqError as error:
        return [f"u2q: {error}"]
    if not len(users):
        return ["the u2q cache is empty"]
    canaries = sorted(users)[:: max(1, len(users) // trial.settings.canaries)]
    profiles, behaviours = given.logs("today")["users"], history_of(given, "history")
    moment, lines = trial.day + timedelta(days=1), trial.settings.history_lines
    shoppers = shoppers_at(canaries, profiles, behaviours, moment, lines)
    checks: dict[str, Callable[[], Iterable[str]]] = {
        "direct": lambda: _written(trial, shoppers),
        "think": lambda: _reasoned(trial, shoppers),
        "x2q": lambda: _index(trial.models["x2q"].table("x2q")),
        "stack": lambda: _ranked(trial, canaries),
    }
    found: list[str] = []
    for name, check in checks.items():
        try:
            found += check()
        except ServiceAbsent:
            raise
        except Exception as error:  # whatever stops it here would stop it when it serves
            found.append(f"{name}: {_words(error)}")
    return found


def _words(error: Exception) -> str:
    """One line; the kind of what is no AigqError goes with it."""
    line = next(iter(str(error).splitlines()), "")
    return line if isinstance(error, AigqError) else f"{type(error).__name__}: {line}"


def _written(trial: Trial, shoppers: list[Shopper]) -> Iterable[str]:
    """The policy writes for the canaries of the day what the cache holds for them: most of it, for
    another batch rounds differently."""
    cached = trial.models["u2q"].table("u2q")
    lists = cached[cached["day"] == trial.day.isoformat()].groupby("user_id")["query"].agg(set)
    active = [shopper for shopper in shoppers if shopper.user_id in lists.index]
    policy, settings = trial.models["direct"], trial.settings
    generated = generate(policy, active, settings.list_length, settings.writing)
    for user, queries in generated.lists.items():
        if not queries:
            yield f"the policy writes nothing for {user}"
        elif len(lists[user] & set(queries)) < SAME * len(queries):
            yield f"u2q of {user} is not what the policy writes"


def _reasoned(trial: Trial, shoppers: list[Shopper]) -> Iterable[str]:
    settings = trial.settings
    known = [shopper for shopper in shoppers if shopper.lines][: settings.reasoned]
    written = reason(trial.models["think"], known, settings.limits, settings.writing)
    for shopper, parsed in written:
        if not parsed.valid:
            yield f"AIGQ-Think's answer for {shopper.user_id} is malformed: {parsed.reason}"


def _index(entries: pd.DataFrame) -> Iterable[str]:
    if entries.empty:
        yield "the x2q index is empty"
    refused = [query for query in entries["query"].unique() if not is_allowed(query)]
    if refused:
        yield f"the x2q index holds {len(refused)} queries that may not be shown"


def _ranked(trial: Trial, users: list[str]) -> Iterable[str]:
    settings, moment = trial.settings, trial.day + timedelta(days=1)
    stack = release_stack(trial.models, trial.logs, moment, settings.candidates, settings.own_brand)
    stack.rank(users[:1])  # what is built at first use is no user's latency
    seconds = []
    for user in users:
        # Of this process, not of the clock: a training beside it is no fault of the release.
        began = time.process_time()
        ranking = stack.rank([user])
        seconds.append(time.process_time() - began)
        if ranking.empty:
            yield f"the stack ranks nothing for {user}"
    median = float(np.median(seconds))
    if median > settings.max_seconds:
        yield f"ranking takes {median:.2f} s of CPU a user, more than {settings.max_seconds:.2f} s"


SERVABLE = Stage(
    name="servable",
    needs=("s3", "mlflow"),
    reads=(
        *(Result(stage) for stage in ("gate", "policy", "ctr", *ALWAYS_NEW)),
        Result("think-policy", when=renews_think),
        *(Release(kind) for kind in KEPT),
        Release("item-texts"),  # histories are told in these, as they were for the day's lists
        Logs("history", BEHAVIOUR_TABLES, history),
        Logs("today", ("users",), today),
    ),
    settings=lambda settings: ServableSlice(
        **dict(settings.servable),
        candidates=settings.recall.candidates,
        list_length=settings.generation.list_length,
        history_lines=settings.samples.history_lines,
        own_brand=settings.ctr.own_brand,
        limits=settings.think.limits,
        writing=writing(settings),
    ),
    compute=compute,
    final=lambda result: bool(result.metrics["servable"]),
    timed=True,
)
