"""What a stage may declare to read. Each is resolved once per run, to a digest and to what it
stands for; the digest goes into the manifest under the read's key.

Keys: "<stage>" for one result, "<stage>: <name>" for those of several days, "release <kind>" for a
model of the release that the day starts from.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import TYPE_CHECKING, Protocol

from aigq_tasks.errors import AigqError, OutsideTheLog
from aigq_tasks.sources.base import Source
from aigq_tasks.storage.canonical import to_json
from aigq_tasks.storage.ledger import Entry
from aigq_tasks.storage.manifests import Manifest
from aigq_tasks.storage.objects import sha256

if TYPE_CHECKING:
    from aigq_tasks.settings import Settings

LOGS = "logs"  # the stage that lands the log
OF_RELEASE = "release "  # what the key of a model of the release begins with


@dataclass(frozen=True)
class Moment:
    """A day of a run, and what its reads are resolved by.

    parent: the release that the day starts from: the one that served it, or, where the day before
    was recomputed, that one. heads: (stage, days) -> the newest result of each day that has one.
    manifest: digest -> manifest. known: the ledger and the shelf, for what lies behind `parent`.
    """

    day: date
    settings: "Settings"
    parent: Entry | None
    source: Source
    heads: Callable[[str, Iterable[date]], dict[date, Manifest]]
    manifest: Callable[[str], Manifest]
    known: tuple[Entry, ...] = ()


Days = Callable[[Moment], list[date]]
When = Callable[[Moment], bool]


@dataclass(frozen=True)
class Resolved:
    """What a read stands for now: manifests, in the order of their days; or the source, for days
    of its own."""

    digest: str
    manifests: tuple[Manifest, ...] = ()
    tables: tuple[str, ...] = ()
    days: tuple[date, ...] = ()
    source: Source | None = None


class Read(Protocol):
    """Something that a stage reads."""

    @property
    def key(self) -> str:
        """What `compute` asks for it by, and its name among the inputs of the manifest."""
        ...

    def upstream(self, moment: Moment) -> list[tuple[str, date]]:
        """(stage, day) of the results that it reads."""
        ...

    def resolve(self, moment: Moment) -> Resolved | None:
        """What it stands for; None where nothing is read on such a day. AigqError when it is
        missing, with the command that makes it."""
        ...


def always(_: Moment) -> bool:
    return True


def today(moment: Moment) -> list[date]:
    return [moment.day]


@dataclass(frozen=True)
class Result:
    """The result of a stage for the day, or for another one. key: where it stands in for what
    `compute` asks for under another name."""

    stage: str
    day: Callable[[Moment], date] = lambda moment: moment.day
    when: When = always
    key: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", self.key or self.stage)

    def upstream(self, moment: Moment) -> list[tuple[str, date]]:
        return [(self.stage, self.day(moment))] if self.when(moment) else []

    def resolve(self, moment: Moment) -> Resolved | None:
        if not self.when(moment):
            return None
        (found,) = _results(moment, self.upstream(moment))
        return Resolved(found.digest, (found,))


@dataclass(frozen=True)
class Results:
    """The results of a stage for several days."""

    stage: str
    name: str
    days: Days
    key: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", self.key or f"{self.stage}: {self.name}")

    def upstream(self, moment: Moment) -> list[tuple[str, date]]:
        return [(self.stage, day) for day in self.days(moment)]

    def resolve(self, moment: Moment) -> Resolved:
        found = _results(moment, self.upstream(moment))
        return Resolved(_digest(one.digest for one in found), tuple(found))


@dataclass(frozen=True)
class Logs:
    """Tables of the log of several days. Of a day that lacks a table (before there were hints)
    nothing is read."""

    name: str
    tables: tuple[str, ...]
    days: Days
    when: When = always

    @property
    def key(self) -> str:
        return f"{LOGS}: {self.name}"

    def upstream(self, moment: Moment) -> list[tuple[str, date]]:
        return [(LOGS, day) for day in self.days(moment)] if self.when(moment) else []

    def resolve(self, moment: Moment) -> Resolved | None:
        if not self.when(moment):
            return None
        found = _results(moment, self.upstream(moment))
        stored = (
            f"{one.day} {table} {one.outputs[f'{table}.parquet'].digest}"
            for one in found
            for table in self.tables
            if f"{table}.parquet" in one.outputs
        )
        return Resolved(_digest(stored), tuple(found), self.tables)


@dataclass(frozen=True)
class Release:
    """A model of the release that the day starts from ("ctr", "direct", "recall", ...).

    optional: a release may lack it, or there may be none yet. pinned: digest of a manifest that
    takes its place.
    """

    kind: str
    optional: bool = False
    pinned: str = ""
    key: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", self.key or OF_RELEASE + self.kind)

    def upstream(self, moment: Moment) -> list[tuple[str, date]]:
        return []

    def resolve(self, moment: Moment) -> Resolved | None:
        digest = self.pinned or self._served(moment)
        return Resolved(digest, (moment.manifest(digest),)) if digest else None

    def _served(self, moment: Moment) -> str:
        entry = moment.parent
        if entry is not None and self.kind in entry.models:
            return entry.models[self.kind]
        if self.optional:
            return ""
        if entry is None:
            raise AigqError(f"no release serves {moment.day}: run 'aigq bootstrap' first")
        raise AigqError(f"release {entry.number} ({entry.day}) has no {self.kind} model")


@dataclass(frozen=True)
class ReleaseId:
    """Which models the release that serves the day is made of, as one digest: what a log of hints
    says of where they came from."""

    key: str = field(default="release", init=False)

    def upstream(self, moment: Moment) -> list[tuple[str, date]]:
        return []

    def resolve(self, moment: Moment) -> Resolved | None:
        return Resolved(moment.parent.served) if moment.parent else None


@dataclass(frozen=True)
class Truth:
    """What the source itself knows of the day, for reports and training logs only; nothing where
    it knows nothing.

    ahead: also of the days after it, as far as the visits lie that the day's requests belong to.
    """

    ahead: bool = False
    key: str = field(default="truth", init=False)

    def upstream(self, moment: Moment) -> list[tuple[str, date]]:
        return []

    def resolve(self, moment: Moment) -> Resolved | None:
        source = moment.source
        reach = range(1 + source.truth_ahead if self.ahead else 1)
        days = [moment.day + timedelta(days=later) for later in reach]
        known = tuple(day for day in days if source.truth(day) is not None)
        if not known:
            return None
        return Resolved(_digest(map(source.digest, known)), days=known, source=source)


@dataclass(frozen=True)
class Landing:
    """The source's own day. OutsideTheLog for a day that it does not have, or that lies before the
    first that is landed."""

    first: Callable[[Moment], date]
    key: str = field(default="source", init=False)

    def upstream(self, moment: Moment) -> list[tuple[str, date]]:
        return []

    def resolve(self, moment: Moment) -> Resolved:
        first, last = self.first(moment), moment.source.days()[1]
        if moment.day < first or (last is not None and moment.day > last):
            raise OutsideTheLog(
                f"{moment.day} is outside the log's days {first}..{last or ''} "
                "(the first: history_days before the launch, which is launch_days - 1 days before "
                "bootstrap_day; or the source's first)"
            )
        digest = moment.source.digest(moment.day)
        return Resolved(digest, days=(moment.day,), source=moment.source)


@dataclass(frozen=True)
class Outside:
    """Bytes that lie outside the store and that a setting names, known by their digest: those of a
    base model."""

    key: str
    digest: Callable[["Settings"], str]

    def upstream(self, moment: Moment) -> list[tuple[str, date]]:
        return []

    def resolve(self, moment: Moment) -> Resolved:
        return Resolved(self.digest(moment.settings))


@dataclass(frozen=True)
class LanguageModel:
    """The language model that is asked, or that there is none: another one answers otherwise."""

    key: str = field(default="teacher", init=False)

    def upstream(self, moment: Moment) -> list[tuple[str, date]]:
        return []

    def resolve(self, moment: Moment) -> Resolved:
        return Resolved(sha256(to_json(moment.settings.teacher.identity())))


@dataclass(frozen=True)
class Nothing:
    """Nothing, under a key that `compute` asks after: what a variant of a stage goes without."""

    key: str

    def upstream(self, moment: Moment) -> list[tuple[str, date]]:
        return []

    def resolve(self, moment: Moment) -> Resolved | None:
        return None


def missing(stage: str, day: date) -> AigqError:
    """What is said of a result that is not there."""
    return AigqError(
        f"{stage} of {day} is missing: run 'aigq {stage} --day {day}' first "
        "(or 'aigq demo', which runs all days in order)"
    )


def _results(moment: Moment, wanted: list[tuple[str, date]]) -> list[Manifest]:
    """The newest results, of one stage."""
    stages = {stage for stage, _ in wanted}
    found = {stage: moment.heads(stage, [day for _, day in wanted]) for stage in stages}
    for stage, day in wanted:
        if day not in found[stage]:
            raise missing(stage, day)
    return [found[stage][day] for stage, day in wanted]


def _digest(parts: Iterable[str]) -> str:
    return sha256("\n".join(parts).encode())
