"""Typed reads of what earlier stages made: logs of a range of days, releases, model files."""

import json
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from functools import lru_cache
from typing import Any

import pandas as pd

from aigq_tasks.errors import AigqError
from aigq_tasks.logs.behaviours import behaviours, concat_days
from aigq_tasks.logs.schema import SCHEMAS, empty
from aigq_tasks.stages.context import Context
from aigq_tasks.storage.canonical import to_json
from aigq_tasks.storage.ledger import Entry
from aigq_tasks.storage.manifests import Manifest
from aigq_tasks.storage.objects import ObjectStore, sha256
from aigq_tasks.storage.tables import from_parquet

BEHAVIOUR_TABLES = ("searches", "item_clicks", "hint_impressions", "late_clicks")


def need(ctx: Context, stage: str, day: date) -> Manifest:
    """The head manifest of a stage's day; AigqError names the command that makes it."""
    manifest = ctx.manifests.head(stage, day)
    if manifest is None:
        raise _missing(stage, day)
    return manifest


def _missing(stage: str, day: date) -> AigqError:
    return AigqError(
        f"{stage} of {day} is missing: run 'aigq {stage} --day {day}' first "
        "(or 'aigq demo', which runs all days in order)"
    )


def blob(ctx: Context, manifest: Manifest, name: str) -> bytes:
    """One output of a manifest, checked against its digest."""
    if name not in manifest.outputs:
        raise AigqError(
            f"{manifest.stage} of {manifest.day} has no output '{name}', "
            f"only {', '.join(sorted(manifest.outputs))}"
        )
    return ctx.store.get_blob(manifest.outputs[name].digest)


def table(ctx: Context, manifest: Manifest, name: str) -> pd.DataFrame:
    return from_parquet(blob(ctx, manifest, f"{name}.parquet"))


def record(ctx: Context, manifest: Manifest, name: str) -> Any:
    """A JSON output."""
    return json.loads(blob(ctx, manifest, name))


def files(ctx: Context, manifest: Manifest, prefix: str = "") -> dict[str, bytes]:
    """All outputs under a prefix, names without it (the files of one model)."""
    names = [name for name in manifest.outputs if name.startswith(prefix)]
    return {name.removeprefix(prefix): blob(ctx, manifest, name) for name in names}


def live_entry(ctx: Context, day: date) -> Entry:
    """The release that served `day`, or, where the day before was recomputed, that one; AigqError
    when nothing was ever released before it."""
    entry = ctx.ledger.parent_of(day)
    if entry is None:
        raise AigqError(f"no release serves {day}: run 'aigq bootstrap' first")
    return entry


def model(ctx: Context, entry: Entry, kind: str) -> Manifest:
    """The manifest of a model that a release serves ("ctr", "direct", "recall", ...)."""
    if kind not in entry.models:
        raise AigqError(f"release {entry.number} ({entry.day}) has no {kind} model")
    return ctx.manifests.get(entry.models[kind])


def release_digest(entry: Entry) -> str:
    """What a stage that reads a release records as its input: the models it serves. Who
    published it, why and under which number does not change what a stage computes."""
    return sha256(to_json(entry.models))


def launch_day(ctx: Context) -> date:
    """The first day with hint impressions."""
    return ctx.settings.bootstrap_day - timedelta(days=ctx.settings.launch_days - 1)


def stack_day(ctx: Context) -> date:
    """The last day that release 1 serves, and the first that a click model is trained to."""
    return ctx.settings.bootstrap_day - timedelta(days=ctx.settings.samples.bootstrap_days)


def first_log_day(ctx: Context) -> date:
    """The first day of log that is landed at all."""
    return launch_day(ctx) - timedelta(days=ctx.settings.market.history_days)


def days_between(first: date, last: date) -> list[date]:
    return [first + timedelta(days=i) for i in range((last - first).days + 1)]


def log_window(ctx: Context, last: date, days: int | None = None) -> list[Manifest]:
    """Market manifests of the `days` days that end with `last` (default: the history window),
    none before the first log day. AigqError names the first missing day."""
    span = ctx.settings.market.history_days if days is None else days
    first = max(first_log_day(ctx), last - timedelta(days=span - 1))
    wanted = days_between(first, last)
    if not wanted:
        raise AigqError(f"{last} lies before the first log day {first_log_day(ctx)}")
    found = ctx.manifests.heads("market", wanted)
    missing = next((day for day in wanted if day not in found), None)
    if missing:
        raise _missing("market", missing)
    return [found[day] for day in wanted]


def window_digest(manifests: Iterable[Manifest]) -> str:
    """One digest for a window of logs: what a stage that read them records as its input."""
    return sha256("\n".join(manifest.digest for manifest in manifests).encode())


def read_logs(
    ctx: Context, manifests: Sequence[Manifest], tables: Sequence[str]
) -> dict[str, pd.DataFrame]:
    """The named log tables of several days, stacked in day order. A day without hint exposures
    (before the launch) has no hint tables: it counts as empty."""

    def one(manifest: Manifest) -> dict[str, pd.DataFrame]:
        present = [name for name in tables if f"{name}.parquet" in manifest.outputs]
        return {
            name: _log_table(ctx.store, manifest.outputs[f"{name}.parquet"].digest)
            for name in present
        }

    with ThreadPoolExecutor(8) as pool:
        days = list(pool.map(one, manifests))
    stacked = concat_days(days)
    return {name: stacked.get(name, _none(name)) for name in tables}


@lru_cache(maxsize=1024)
def _log_table(store: ObjectStore, digest: str) -> pd.DataFrame:
    """A log table of one day, kept for the next stage of this process: the windows of two days
    share all days but one. Callers stack them, which copies."""
    return from_parquet(store.get_blob(digest))


def _none(name: str) -> pd.DataFrame:
    return empty(name) if name in SCHEMAS else pd.DataFrame()


def read_behaviours(ctx: Context, manifests: Sequence[Manifest], day: date | None) -> pd.DataFrame:
    """The behaviours of a window of days (see `logs.behaviours`), items called as the stages of
    `day` call them: by the texts of the release that served it, before the first by its own.
    Without a day, items go by their titles."""
    texts = item_texts(ctx, texts_of_day(ctx, day)) if day else {}
    return behaviours(read_logs(ctx, manifests, BEHAVIOUR_TABLES), texts)


def texts_of_day(ctx: Context, day: date) -> Manifest:
    """The item texts that the stages of `day` read."""
    entry = ctx.ledger.parent_of(day)
    return model(ctx, entry, "item-texts") if entry else need(ctx, "item-texts", day)


def item_texts(ctx: Context, manifest: Manifest) -> dict[str, str]:
    """item_id -> what shoppers call the item, of one `item-texts` result."""
    rows = table(ctx, manifest, "item_texts")
    return dict(zip(rows["item_id"], rows["text"], strict=True))


def read_users(ctx: Context, manifests: Sequence[Manifest]) -> pd.DataFrame:
    """One row per user seen in the window; the latest day's profile wins."""
    users = read_logs(ctx, manifests, ("users",))["users"]
    return users.drop_duplicates("user_id", keep="last").sort_values("user_id", ignore_index=True)
