"""The line of releases that a policy comes by, and what stages read of it.

A policy descends from the one that it was trained from, and so on to the bootstrap: by the parents
of the ledger's entries. What was served meanwhile on another line, before a rollback or before an
update that started anew, is no ancestor and tells nothing of the policy. All here is a function of
the ledger, the shelf and the manifests that their entries name, so a day that is run again finds
the same.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, timedelta

from aigq_tasks.pipeline.reads import OF_RELEASE, Moment, Release, Resolved
from aigq_tasks.storage.ledger import Entry
from aigq_tasks.storage.objects import sha256

POLICY = "direct"  # the kind of model that a line is of
SCORES, VERDICT = "evaluate", "gate"  # stages of the day that a release names
GO_BACK = "go_back_to"  # metric of a verdict on a champion that lost: the policy to start from
WEEK = timedelta(days=7)  # the days that are judged together, and how old an anchor is
WEEK_AGO = "week ago"  # key of the read, after OF_RELEASE, and arm of the evaluation


def line(known: Iterable[Entry], head: Entry | None) -> list[Entry]:
    """The releases that the policy of `head` comes by, newest first; a rollback counts as what was
    gone back to. Releases without a policy, of before the first, are not in it. known: the ledger
    and the shelf."""
    by_number, found = {entry.number: entry for entry in known}, []
    while head is not None and POLICY in head.models:
        if head.verdict != "rollback":
            found.append(head)
        head = by_number.get(head.parent) if head.parent else None
    return found


def judged(known: Iterable[Entry], head: Entry | None, day: date) -> list[Entry]:
    """Of the line those whose day was evaluated in the week that ends with `day`, that one left
    out, the oldest first; of a day the last."""
    newest: dict[date, Entry] = {}
    for entry in line(known, head):
        if SCORES in entry.manifests and day - WEEK < entry.day < day:
            newest.setdefault(entry.day, entry)
    return [newest[of] for of in sorted(newest)]


def week_ago(known: Iterable[Entry], head: Entry | None, day: date) -> Entry | None:
    """Of the line the release of a week before `day`; the oldest where none is as old."""
    found = line(known, head)
    return next((own for own in found if own.day <= day - WEEK), found[-1] if found else head)


def start(moment: Moment) -> Entry | None:
    """The release whose policy the day's update starts from, where it is not the one that serves:
    the verdict of the day before found that one below an anchor, and its challenger did not take
    its place. None on all other days: whoever went back or promoted has decided otherwise."""
    parent = moment.parent
    if parent is None or parent.verdict != "rejected" or VERDICT not in parent.manifests:
        return None
    policy = moment.manifest(parent.manifests[VERDICT]).metrics.get(GO_BACK)
    found = line(moment.known, parent)
    return next((own for own in found if own.models[POLICY] == policy), None)


@dataclass(frozen=True)
class Start:
    """The policy that the day's update starts from, under the key of the one that serves."""

    key: str = field(default=OF_RELEASE + POLICY, init=False)

    def upstream(self, moment: Moment) -> list[tuple[str, date]]:
        return []

    def resolve(self, moment: Moment) -> Resolved | None:
        other = start(moment)
        return Release(POLICY, pinned=other.models[POLICY] if other else "").resolve(moment)


@dataclass(frozen=True)
class WeekAgo:
    """The policy that was released a week ago, on the line of the one that serves."""

    key: str = field(default=OF_RELEASE + WEEK_AGO, init=False)

    def upstream(self, moment: Moment) -> list[tuple[str, date]]:
        return []

    def resolve(self, moment: Moment) -> Resolved | None:
        entry = week_ago(moment.known, moment.parent, moment.day)
        return Release(POLICY, pinned=entry.models[POLICY] if entry else "").resolve(moment)


@dataclass(frozen=True)
class Line:
    """The days behind a policy that are judged with the moment's: for each its evaluation, and the
    policy that was released with it, one after the other. Nothing on the first days.

    anew: behind the policy that the day's update starts from, not the one that serves.
    """

    anew: bool = False

    @property
    def key(self) -> str:
        return f"line of the {'challenger' if self.anew else 'champion'}"

    def upstream(self, moment: Moment) -> list[tuple[str, date]]:
        return []

    def resolve(self, moment: Moment) -> Resolved | None:
        other = start(moment) if self.anew else None
        days = judged(moment.known, other or moment.parent, moment.day)
        digests = [of for entry in days for of in (entry.manifests[SCORES], entry.models[POLICY])]
        if not digests:
            return None
        return Resolved(sha256("\n".join(digests).encode()), tuple(map(moment.manifest, digests)))
