"""Stage `servable`: can what the day made answer? Its models are loaded anew, from S3.

The second verdict before a release. `gate` asks whether the lists are good; this asks, in a
process that trained nothing, whether the release can be served at all: for a few canary users
the policy writes what the cache holds, AIGQ-Think reasons, the index answers, the stack ranks.
"""

import time
from collections.abc import Callable, Iterable
from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd

from aigq_tasks.context.prompt import Shopper
from aigq_tasks.context.queries import is_allowed
from aigq_tasks.errors import AigqError, ServiceAbsent
from aigq_tasks.stages.context import Context
from aigq_tasks.stages.generation import generate, generation_config, reason, shoppers_at
from aigq_tasks.stages.publish import candidate
from aigq_tasks.stages.reading import (
    log_window,
    model,
    need,
    read_behaviours,
    release_digest,
    table,
    window_digest,
)
from aigq_tasks.stages.runner import StageOutput
from aigq_tasks.stages.serving import load_release_stack
from aigq_tasks.storage.canonical import to_json
from aigq_tasks.storage.ledger import Entry

SAME = 0.8  # share of a canary's list that the cache must hold


class ServableStage:
    """Verdict with reasons; `publish` refuses what is not servable."""

    name = "servable"
    needs: tuple[str, ...] = ("s3", "mlflow")

    def inputs(self, ctx: Context, day: date) -> dict[str, str]:
        """A refusal counts as an input, so that it is never "up to date": a slow machine gets
        faster, a lost object is restored, and the same release is tried again."""
        asked = {
            "release": release_digest(self.release(ctx, day)),
            "logs": window_digest(log_window(ctx, day)),
        }
        last = ctx.manifests.head(self.name, day)
        if last is None or asked.items() - last.inputs.items():
            return asked
        return last.inputs if last.metrics["servable"] else asked | {"refusal": last.digest}

    def config(self, ctx: Context) -> dict[str, Any]:
        limits = ctx.settings.think.limits.model_dump()
        return generation_config(ctx) | {"limits": limits, **ctx.settings.servable.model_dump()}

    def release(self, ctx: Context, day: date) -> Entry:
        """The release that is tried: what the day's results make."""
        return candidate(ctx, day)

    def compute(self, ctx: Context, day: date) -> StageOutput:
        reasons = faults(ctx, self.release(ctx, day), day)
        verdict = {"servable": not reasons, "reasons": reasons}
        return StageOutput(
            files={"servable.json": to_json(verdict)},
            metrics={"servable": float(not reasons)},
            tags={"servable_reasons": "; ".join(reasons)},
        )


def faults(ctx: Context, entry: Entry, day: date) -> list[str]:
    """Why a release cannot serve the day after `day`, in words; [] if it can. ServiceAbsent when
    S3 does not answer: that says nothing about the release."""
    try:
        users = table(ctx, model(ctx, entry, "u2q"), "u2q")["user_id"].unique()
    except ServiceAbsent:
        raise
    except AigqError as error:
        return [f"u2q: {error}"]
    if not len(users):
        return ["the u2q cache is empty"]
    canaries = sorted(users)[:: max(1, len(users) // ctx.settings.servable.canaries)]
    profiles = table(ctx, need(ctx, "market", day), "users")
    history = read_behaviours(ctx, log_window(ctx, day), day)
    shoppers = shoppers_at(ctx, canaries, profiles, history, day + timedelta(days=1))
    checks: dict[str, Callable[[], Iterable[str]]] = {
        "direct": lambda: _written(ctx, entry, day, shoppers),
        "think": lambda: _reasoned(ctx, entry, shoppers),
        "x2q": lambda: _index(table(ctx, model(ctx, entry, "x2q"), "x2q")),
        "stack": lambda: _ranked(ctx, entry, day, canaries),
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


def _written(ctx: Context, entry: Entry, day: date, shoppers: list[Shopper]) -> Iterable[str]:
    """The policy writes for the canaries of the day what the cache holds for them: most of it, for
    another batch rounds differently."""
    cached = table(ctx, model(ctx, entry, "u2q"), "u2q")
    lists = cached[cached["day"] == day.isoformat()].groupby("user_id")["query"].agg(set)
    today = [shopper for shopper in shoppers if shopper.user_id in lists.index]
    generated = generate(ctx, model(ctx, entry, "direct"), today)
    for user, queries in generated.lists.items():
        if not queries:
            yield f"the policy writes nothing for {user}"
        elif len(lists[user] & set(queries)) < SAME * len(queries):
            yield f"u2q of {user} is not what the policy writes"


def _reasoned(ctx: Context, entry: Entry, shoppers: list[Shopper]) -> Iterable[str]:
    known = [shopper for shopper in shoppers if shopper.lines][: ctx.settings.servable.reasoned]
    for shopper, parsed in reason(ctx, model(ctx, entry, "think"), known):
        if not parsed.valid:
            yield f"AIGQ-Think's answer for {shopper.user_id} is malformed: {parsed.reason}"


def _index(entries: pd.DataFrame) -> Iterable[str]:
    if entries.empty:
        yield "the x2q index is empty"
    refused = [query for query in entries["query"].unique() if not is_allowed(query)]
    if refused:
        yield f"the x2q index holds {len(refused)} queries that may not be shown"


def _ranked(ctx: Context, entry: Entry, day: date, users: list[str]) -> Iterable[str]:
    stack = load_release_stack(ctx, entry, day + timedelta(days=1))
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
    limit = ctx.settings.servable.max_seconds
    if median > limit:
        yield f"ranking takes {median:.2f} s of CPU a user, more than {limit:.2f} s"
