"""What `compute` is handed: what its stage declared to read, and a few capabilities."""

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
from aigq_tasks.pipeline.reads import OF_RELEASE, Resolved
from aigq_tasks.sources.base import Needs, Source
from aigq_tasks.storage.manifests import Manifest
from aigq_tasks.storage.tables import from_parquet
from aigq_tasks.teacher.endpoint import Endpoint

ReadBlob = Callable[[str], bytes]  # SHA-256 -> the bytes that are stored under it


@dataclass(frozen=True)
class Stored:
    """The result of a stage for a day, read as it is asked for and checked against its digests."""

    manifest: Manifest
    _blob: ReadBlob

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
        return self._blob(self.manifest.outputs[name].digest)

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
    for the source and the teacher too.

    _declared: key of a read -> what it stands for, None where nothing is read on such a day.
    scratch: a folder of its own, keyed by the digest of all inputs, where a killed run finds what
    it left; it is removed once the result is stored. passed: called with the names of the points
    that work in `scratch` passes, for tests that kill there.
    """

    _declared: Mapping[str, Resolved | None]
    _blob: ReadBlob
    _teacher: Endpoint | None
    scratch: Path
    passed: Callable[[str], None]

    def has(self, key: str) -> bool:
        """Whether there is something to read under a key of the stage's reads."""
        return self._declared[key] is not None

    def result(self, key: str) -> Stored:
        (stored,) = self.results(key)
        return stored

    def results(self, key: str) -> list[Stored]:
        """Of several days, in their order."""
        return [Stored(manifest, self._blob) for manifest in self._read(key).manifests]

    def line(self, key: str) -> list[tuple[Stored, Stored]]:
        """The days behind a policy (`reads` of `pipeline.lines`): evaluation and released policy
        of each; [] where nothing is read."""
        found = self.results(key) if self.has(key) else []
        return list(zip(found[::2], found[1::2], strict=True))

    def release(self, kind: str) -> Stored:
        """The model of that kind of the release that the day starts from."""
        return self.result(OF_RELEASE + kind)

    def released(self, kind: str) -> bool:
        """Whether there is one."""
        return self.has(OF_RELEASE + kind)

    def logs(self, name: str) -> dict[str, pd.DataFrame]:
        """The declared tables of the log, days stacked in their order; a table that no day has is
        empty."""
        found = self._read(f"logs: {name}")
        return read_logs(self._blob, found.manifests, found.tables)

    def digest(self, key: str) -> str:
        """Of what is read under a key: equal digests are the same data."""
        return self._read(key).digest

    def release_id(self) -> str:
        """Which models serve the day."""
        return self._read("release").digest

    def source(self) -> Source:
        """Where the day's log comes from."""
        return _source(self._read("source"))

    def truths(self) -> list[Needs]:
        """What the source knows of each declared day, in their order; [] where it knows nothing."""
        if not self.has("truth"):
            return []
        declared = self._read("truth")
        known = (_source(declared).truth(day) for day in declared.days)
        return [needs for needs in known if needs is not None]

    def teacher(self) -> Endpoint | None:
        """A language model whose answers are stored one by one, None where none is set."""
        self._read("teacher")
        return self._teacher

    def _read(self, key: str) -> Resolved:
        found = self._declared[key]
        if found is None:
            raise KeyError(f"there is nothing under '{key}' on such a day")
        return found


def _source(declared: Resolved) -> Source:
    if declared.source is None:
        raise KeyError("a read that is not of the source")
    return declared.source


def read_logs(
    blob: ReadBlob, manifests: tuple[Manifest, ...], tables: tuple[str, ...]
) -> dict[str, pd.DataFrame]:
    """Tables of the log of several days, stacked in the order of the manifests."""

    def one(manifest: Manifest) -> dict[str, pd.DataFrame]:
        present = [name for name in tables if f"{name}.parquet" in manifest.outputs]
        return {
            name: _log_table(blob, manifest.outputs[f"{name}.parquet"].digest) for name in present
        }

    with ThreadPoolExecutor(8) as pool:
        stacked = concat_days(list(pool.map(one, manifests)))
    return {name: stacked[name] if name in stacked else _none(name) for name in tables}


@lru_cache(maxsize=1024)
def _log_table(blob: ReadBlob, digest: str) -> pd.DataFrame:
    """A log table of one day, kept for the next stage of this process: the windows of two days
    share all days but one. Callers stack them, which copies."""
    return from_parquet(blob(digest))


def _none(name: str) -> pd.DataFrame:
    from aigq_tasks.logs.schema import SCHEMAS, empty  # loads pandera: few days lack a table

    return empty(name) if name in SCHEMAS else pd.DataFrame()
