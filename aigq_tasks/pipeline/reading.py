"""Stored results by a Context: for releases, reports and research. A stage is handed its own."""

from collections.abc import Iterable
from datetime import date
from typing import Any

import pandas as pd

from aigq_tasks.errors import AigqError
from aigq_tasks.pipeline.context import Context
from aigq_tasks.pipeline.given import Stored, read_logs
from aigq_tasks.pipeline.reads import LOGS, missing
from aigq_tasks.storage.ledger import Entry
from aigq_tasks.storage.manifests import Manifest


def need(ctx: Context, stage: str, day: date) -> Manifest:
    """The head manifest of a stage's day; AigqError names the command that makes it."""
    manifest = ctx.manifests.head(stage, day)
    if manifest is None:
        raise missing(stage, day)
    return manifest


def stored(ctx: Context, manifest: Manifest) -> Stored:
    """What the manifest names, to be read."""
    return Stored(manifest, ctx.store.get_blob)


def table(ctx: Context, manifest: Manifest, name: str) -> pd.DataFrame:
    return stored(ctx, manifest).table(name)


def record(ctx: Context, manifest: Manifest, name: str) -> Any:
    """A JSON output."""
    return stored(ctx, manifest).record(name)


def live_entry(ctx: Context, day: date) -> Entry:
    """The release that the run for `day` starts from; AigqError when nothing was ever released
    before it."""
    entry = ctx.ledger.parent_of(day)
    if entry is None:
        raise AigqError(f"no release serves {day}: run 'aigq bootstrap' first")
    return entry


def model(ctx: Context, entry: Entry, kind: str) -> Manifest:
    """The manifest of a model that a release serves ("ctr", "direct", "recall", ...)."""
    if kind not in entry.models:
        raise AigqError(f"release {entry.number} ({entry.day}) has no {kind} model")
    return ctx.manifests.get(entry.models[kind])


def logs_of(ctx: Context, days: Iterable[date], tables: tuple[str, ...]) -> dict[str, pd.DataFrame]:
    """Tables of the log of some days, stacked in their order."""
    return read_logs(ctx.store.get_blob, tuple(need(ctx, LOGS, day) for day in days), tables)
