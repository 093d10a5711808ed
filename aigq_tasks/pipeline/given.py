"""What `compute` is handed: what its stage declared to read, and three capabilities."""

import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd

from aigq_tasks.errors import AigqError
from aigq_tasks.logs.behaviours import concat_days
from aigq_tasks.logs.schema import SCHEMAS, empty
from aigq_tasks.pipeline.reads import Resolved
from aigq_tasks.sources.base import Scorer, Source
from aigq_tasks.storage.manifests import Manifest
from aigq_tasks.storage.objects import ObjectStore
from aigq_tasks.storage.tables import from_parquet
from aigq_tasks.teacher.endpoint import Endpoint


@dataclass(frozen=True)
class Stored:
    """The result of a stage for a day, read as it is asked for and checked against its digests."""

    manifest: Manifest
    store: ObjectStore

    @property
    def day(self) -> date:
        return self.manifest.day

    @property
    def digest(self) -> str:
        """Of its manifest: equal digests are the same result."""
        return self.manifest.digest

    def has(self, name: str) -> bool:
        return name in self.manifest.outputs

    def file(self, name: str) -> bytes:
        """One output; AigqError when there is none of that name."""
        if not self.has(name):
            raise AigqError(
                f"{self.manifest.stage} of {self.day} has no output '{name}', "
                f"only {', '.join(sorted(self.manifest.outputs))}"
            )
        return self.store.get_blob(self.manifest.outputs[name].digest)

    def table(self, name: str) -> pd.DataFrame:
        return from_parquet(self.file(f"{name}.parquet"))

    def record(self, name: str) -> Any:
        """A JSON output, by its file name."""
        return json.loads(self.file(name))

    def files(self, prefix: str = "") -> dict[str, bytes]:
        """All outputs under a prefix, names without it (the files of one model)."""
        names = [name for name in self.manifest.outputs if name.startswith(prefix)]
        return {name.removeprefix(prefix): self.file(name) for name in names}


@dataclass(frozen=True)
class Given:
    """Everything that a computation has. Asking for what the stage does not declare is a KeyError,
    for the source too, which only `logs` declares.

    scratch: a folder of its own, keyed by the digest of all inputs, where a killed run finds what
    it left; it is removed once the result is stored. passed: called with the names of the points
    that work in `scratch` passes, for tests that kill there. teacher: a language model whose
    answers are stored one by one, None where none is set.
    """

    resolved: Mapping[str, Resolved]
    store: ObjectStore
    teacher: Endpoint | None
    scratch: Path
    passed: Callable[[str], None]

    def has(self, key: str) -> bool:
        """Whether there is something to read under a key of the stage's reads."""
        return key in self.resolved

    def result(self, key: str) -> Stored:
        (manifest,) = self.resolved[key].manifests
        return Stored(manifest, self.store)

    def results(self, key: str) -> list[Stored]:
        """Of several days, in their order."""
        return [Stored(manifest, self.store) for manifest in self.resolved[key].manifests]

    def release(self, kind: str) -> Stored:
        """The model of that kind of the release that the day starts from."""
        return self.result(f"release {kind}")

    def released(self, kind: str) -> bool:
        """Whether there is one."""
        return self.has(f"release {kind}")

    def logs(self, name: str) -> dict[str, pd.DataFrame]:
        """The declared tables of the log, days stacked in their order; a table that no day has is
        empty."""
        found = self.resolved[f"logs: {name}"]
        return read_logs(self.store, found.manifests, found.tables)

    def release_id(self) -> str:
        """Which models serve the day."""
        return self.resolved["release"].digest

    def source(self) -> Source:
        """Where the day's log comes from."""
        return _source(self.resolved["source"])

    def truths(self) -> list[Scorer]:
        """What the source knows of each declared day, in their order; [] where it knows nothing."""
        declared = self.resolved["truth"]
        known = (_source(declared).truth(day) for day in declared.days)
        return [scorer for scorer in known if scorer is not None]


def _source(declared: Resolved) -> Source:
    if declared.source is None:
        raise KeyError("a read that is not of the source")
    return declared.source


def read_logs(
    store: ObjectStore, manifests: tuple[Manifest, ...], tables: tuple[str, ...]
) -> dict[str, pd.DataFrame]:
    """Tables of the log of several days, stacked in the order of the manifests."""

    def one(manifest: Manifest) -> dict[str, pd.DataFrame]:
        present = [name for name in tables if f"{name}.parquet" in manifest.outputs]
        return {
            name: _log_table(store, manifest.outputs[f"{name}.parquet"].digest) for name in present
        }

    with ThreadPoolExecutor(8) as pool:
        stacked = concat_days(list(pool.map(one, manifests)))
    return {name: stacked.get(name, _none(name)) for name in tables}


@lru_cache(maxsize=1024)
def _log_table(store: ObjectStore, digest: str) -> pd.DataFrame:
    """A log table of one day, kept for the next stage of this process: the windows of two days
    share all days but one. Callers stack them, which copies."""
    return from_parquet(store.get_blob(digest))


def _none(name: str) -> pd.DataFrame:
    return empty(name) if name in SCHEMAS else pd.DataFrame()
