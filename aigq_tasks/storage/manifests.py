"""Manifests: what a stage made of which inputs. A stage's outputs are real once one exists.

A manifest holds no clock, host or run id: equal inputs, config and version give equal bytes.
"""

import json
import math
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from functools import cache
from typing import Any

from aigq_tasks.errors import AigqError
from aigq_tasks.storage.canonical import to_json
from aigq_tasks.storage.crash import crash_point
from aigq_tasks.storage.objects import ObjectStore, sha256
from aigq_tasks.storage.records import read_record

REMEDY = "restore it from a backup, or delete it and run the stage of that day again"


@dataclass(frozen=True)
class Blob:
    """One file of a stage: SHA-256 (hex) and size in bytes of the blob that holds it."""

    digest: str
    size: int


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """One execution of a stage for a day.

    inputs: name -> digest of the upstream manifest or ledger entry. config: the settings that
    change the outputs (JSON values). metrics: finite numbers, and strings for facts about the
    run. revision: 1 for the first result of that day; Manifests.create sets it.
    """

    stage: str
    day: date
    revision: int = 1
    inputs: dict[str, str] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    version: str = ""
    outputs: dict[str, Blob] = field(default_factory=dict)
    metrics: dict[str, float | str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, value in sorted(self.metrics.items()):
            if not isinstance(value, str) and not math.isfinite(value):
                raise AigqError(
                    f"{self.stage} {self.day}: metric '{name}' is {value}; "
                    "leave out a metric that the day's data do not define"
                )

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        return to_json({**asdict(self), "day": self.day.isoformat()})

    @classmethod
    def from_bytes(cls, data: bytes) -> "Manifest":
        """The inverse of to_bytes."""
        fields = json.loads(data)
        fields["day"] = date.fromisoformat(fields["day"])
        fields["outputs"] = {name: Blob(**out) for name, out in fields["outputs"].items()}
        return cls(**fields)

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the manifest's bytes: the name other stages refer to it by."""
        return sha256(self.to_bytes())

    @property
    def input_digest(self) -> str:
        """SHA-256 (hex) of all that determines the outputs; equal means nothing to compute."""
        return sha256(
            to_json(
                {
                    "stage": self.stage,
                    "day": self.day.isoformat(),
                    "inputs": self.inputs,
                    "config": self.config,
                    "version": self.version,
                }
            )
        )

    def same_content(self, other: "Manifest") -> bool:
        """True when the two differ in nothing but the revision."""
        return replace(self, revision=1).to_bytes() == replace(other, revision=1).to_bytes()


class Manifests:
    """The manifests of a store, as `manifests/<stage>/<day>/<revision>.json`."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._list = store.list
        self._known: dict[str, Manifest] = {}  # manifests never change: each is read once

    def frozen(self) -> "Manifests":
        """The manifests as they are when first asked about: each listing is made once. For who
        asks much and writes nothing."""
        view = Manifests(self._store)
        view._list = cache(self._store.list)
        return view

    def heads(self, stage: str, days: Iterable[date]) -> dict[date, Manifest]:
        """The highest revision of each of the days that the stage has run for; one listing."""
        wanted = {_folder(stage, day): day for day in days}
        newest: dict[str, str] = {}
        for key in self._list(f"manifests/{stage}/"):  # in order: the last one is the head
            newest[key.rpartition("/")[0] + "/"] = key
        keys = {day: newest[folder] for folder, day in wanted.items() if folder in newest}
        with ThreadPoolExecutor(8) as pool:  # those that are known need no thread
            list(pool.map(self.read, keys.values() - self._known.keys()))
        return {day: self.read(key) for day, key in keys.items()}

    def head(self, stage: str, day: date) -> Manifest | None:
        """The highest revision of a stage's day; None when the stage has not run."""
        keys = self._list(_folder(stage, day))
        return self.read(keys[-1]) if keys else None

    def create(self, manifest: Manifest) -> Manifest:
        """Make `manifest` the head of its day, and return it with the revision it got.

        When the head holds the same content it is returned and nothing is written. When
        another writer takes the revision first, the next one is tried, under the same rule.
        """
        head = self.head(manifest.stage, manifest.day)
        while head is None or not manifest.same_content(head):
            created = replace(manifest, revision=1 if head is None else head.revision + 1)
            data = created.to_bytes()
            self._store.put_blob(data)  # for get(digest); without the key below it means nothing
            crash_point("manifest-body")
            key = _key(created)
            if self._store.put_once(key, data):
                crash_point("manifest")
                return created
            head = self.read(key)
        return head

    def get(self, digest: str) -> Manifest:
        """The manifest with that digest; AigqError when there is none."""
        if digest not in self._known:
            self._known[digest] = Manifest.from_bytes(self._store.get_blob(digest))
        return self._known[digest]

    def get_all(self, digests: Iterable[str]) -> dict[str, Manifest]:
        """The manifests with those digests, each read once, several at a time."""
        wanted = list(dict.fromkeys(digests))
        with ThreadPoolExecutor(8) as pool:
            return dict(zip(wanted, pool.map(self.get, wanted), strict=True))

    def read(self, key: str) -> Manifest:
        """The manifest under a key that a listing gave; AigqError when it is damaged."""
        if key not in self._known:
            self._known[key] = read_record(self._store, key, Manifest.from_bytes, _key, REMEDY)
        return self._known[key]


def _key(manifest: Manifest) -> str:
    return f"{_folder(manifest.stage, manifest.day)}{manifest.revision:04d}.json"


def _folder(stage: str, day: date) -> str:
    return f"manifests/{stage}/{day.isoformat()}/"
