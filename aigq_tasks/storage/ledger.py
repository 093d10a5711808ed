"""The release ledger: an append-only, numbered log. The highest number is the current release.

Each entry is created once under the next free number, so the log has no gaps and no two
writers can share a number. An entry's `models` name what it serves: an entry whose candidate
policy was rejected carries on the policy of its parent, and a rollback carries on all of its
parent.

A day that is recomputed after a later one was released never moves live. Its release lies on the
shelf: the run of the day after starts from it, and once such a chain reaches the current day, its
release is appended to the ledger like any other. Shelved releases are numbered from -1 down.
"""

import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from typing import Literal

from aigq_tasks.errors import AigqError
from aigq_tasks.storage.canonical import to_json
from aigq_tasks.storage.crash import crash_point
from aigq_tasks.storage.objects import ObjectStore, sha256
from aigq_tasks.storage.records import read_record

FOLDER = "ledger/"
SHELF = "shelf/"
REMEDY = "restore it from a backup"


class LedgerConflict(AigqError):  # noqa: N818 - it is an outcome of a race, not a fault
    """The ledger moved on to a later day: the entry stays out of it."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One release decision.

    number: 1 for the first, -1 for the first on the shelf; 0 until the ledger sets it. day: the
    last day of log the release has seen; it serves the days after. parent: number of the
    entry its policy was trained from; of a rollback the entry gone back to, of a promotion the
    entry that it changes in one model. manifests: stage -> manifest digest. models: ctr, direct,
    recall, u2q -> digest of the manifest that produced what is served. code, config: digests
    of both. who, why: words.
    """

    number: int = 0
    day: date
    revision: int
    parent: int | None
    manifests: dict[str, str] = field(default_factory=dict)
    models: dict[str, str] = field(default_factory=dict)
    verdict: Literal["accepted", "rejected", "bootstrap", "rollback", "promoted"]
    code: str
    config: str
    who: str
    why: str

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        return to_json({**asdict(self), "day": self.day.isoformat()})

    @classmethod
    def from_bytes(cls, data: bytes) -> "Entry":
        """The inverse of to_bytes."""
        fields = json.loads(data)
        return cls(**{**fields, "day": date.fromisoformat(fields["day"])})

    def same_release(self, other: "Entry") -> bool:
        """True when both serve the same, made of the same, for the same day."""
        mine = (self.day, self.manifests, self.models)
        return mine == (other.day, other.manifests, other.models)

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the entry's bytes."""
        return sha256(self.to_bytes())

    @property
    def served(self) -> str:
        """The models that it serves, as 16 hex digits. Who published them, why and under which
        number is not in it: what is made from a release does not depend on that."""
        return sha256(to_json(self.models))[:16]


def live_on(entries: Iterable[Entry], day: date) -> Entry | None:
    """The entry that served `day`: of those with an earlier day the highest (day, number)."""
    earlier = [entry for entry in entries if entry.day < day]
    return max(earlier, key=lambda entry: (entry.day, entry.number), default=None)


class Ledger:
    """The ledger of a store, as `ledger/<number>.json`."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._known: dict[str, Entry] = {}  # entries never change: each is read once

    def entries(self) -> list[Entry]:
        """All entries in order of number; AigqError when one is missing."""
        numbers = [_number(key) for key in self._store.list(FOLDER)]
        for expected, number in enumerate(numbers, start=1):
            if number != expected:
                raise AigqError(
                    f"{_key(expected)} is missing in bucket '{self._store.bucket}' at "
                    f"{self._store.url}: {REMEDY}"
                )
        with ThreadPoolExecutor(8) as pool:
            return list(pool.map(self._entry, numbers))

    def entry(self, number: int) -> Entry:
        """The entry of that number; AigqError when there is none."""
        if number < 1 or not self._store.has(_key(number)):
            head = self.current()
            known = f"1 to {head.number}" if head else "none yet"
            raise AigqError(f"there is no release {number}: the ledger holds {known}")
        return self._entry(number)

    def current(self) -> Entry | None:
        """The entry with the highest number; None before the first release."""
        keys = self._store.list(FOLDER)
        return self._entry(_number(keys[-1])) if keys else None

    def live_on(self, day: date) -> Entry | None:
        """The entry that served `day` (see the function of that name); None when none did."""
        return live_on(self.entries(), day)

    def parent_of(self, day: date) -> Entry | None:
        """The entry that the run for `day` starts from: of the latest earlier day the one that was
        shelved last, else the one that served; None when there is no earlier day."""
        live = self.live_on(day)
        earlier = [own for own in self.shelf() if own.day < day]
        shelved = max(earlier, key=lambda own: (own.day, -own.number), default=None)
        if live is None or (shelved is not None and shelved.day >= live.day):
            return shelved
        return live

    def shelf(self) -> list[Entry]:
        """The releases that never went live, in the order in which they were shelved."""
        return [self._read(key) for key in self._store.list(SHELF)]

    def shelve(self, entry: Entry) -> Entry:
        """Keep a release that cannot go live, and return it with its number: -1 for the first.
        The one that was shelved last for its day is not stored twice in a row."""
        while True:
            shelf = self.shelf()
            last = next((own for own in reversed(shelf) if own.day == entry.day), None)
            if last is not None and last.same_release(entry):
                return last
            numbered = replace(entry, number=-len(shelf) - 1)
            if self._put(numbered):
                crash_point("shelf")
                return numbered

    def append(self, entry: Entry, after: int | None = None) -> Entry:
        """Write `entry` under the next free number and return it with that number.

        Who loses a number to another writer reads the winner's entry and tries the next. The very
        same release is not stored twice in a row, whoever brings it.
        LedgerConflict when the entry before it is of a later day: see `shelve`; or, with `after`,
        when it is not the entry of that number, which this one was built on.
        """
        head = self.current()
        while head is None or head.day <= entry.day:
            if head is not None and head.same_release(entry):
                return head
            if after is not None and head is not None and head.number != after:
                raise LedgerConflict(
                    f"release {after} is not the current one anymore: entry {head.number} is; "
                    "run the same command again"
                )
            numbered = replace(entry, number=1 if head is None else head.number + 1)
            if self._put(numbered):
                crash_point("ledger")
                return numbered
            head = self._entry(numbered.number)
        raise LedgerConflict(
            f"release of {entry.day} cannot go live: entry {head.number} already released "
            f"{head.day}; to go back, use 'aigq rollback'"
        )

    def _put(self, entry: Entry) -> bool:
        """Create the entry under its number; False when somebody else has the number."""
        data = entry.to_bytes()
        self._store.put_blob(data)  # what a reader checks the entry against
        crash_point("ledger-body")
        return self._store.put_once(_key(entry.number), data)

    def _entry(self, number: int) -> Entry:
        return self._read(_key(number))

    def _read(self, key: str) -> Entry:
        if key not in self._known:
            self._known[key] = read_record(
                self._store, key, Entry.from_bytes, lambda own: _key(own.number), REMEDY
            )
        return self._known[key]


def _key(number: int) -> str:
    """Of an entry of the ledger, or of one on the shelf (a number below 0)."""
    return f"{SHELF if number < 0 else FOLDER}{abs(number):08d}.json"


def _number(key: str) -> int:
    return int(key.removeprefix(FOLDER).removesuffix(".json"))
