"""What differs between two releases, by kind of thing."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aigq_tasks.pipeline.context import Context
from aigq_tasks.reports.days import COLUMNS
from aigq_tasks.reports.ledger import FACTS, SHORT
from aigq_tasks.storage.canonical import leaves
from aigq_tasks.storage.ledger import Entry
from aigq_tasks.storage.manifests import Manifest

KINDS = ("decision", "models", "results", "settings", "metrics")
NONE = "-"  # where a release has no such thing
Pairs = Sequence[tuple[str, Manifest, Manifest]]  # of each stage its result in both releases


@dataclass(frozen=True)
class Compared:
    """A thing of one of the KINDS in both releases. telling: whether a difference in it says
    something by itself; between two days every result differs, and so does nearly every metric."""

    kind: str
    what: str
    was: str
    now: str
    differs: bool
    telling: bool = True


def compared(ctx: Context, before: Entry, after: Entry) -> list[Compared]:
    """All that two releases can be compared in, in the order of KINDS: what was decided, the
    models that they serve, the results of their days, and of each stage that both ran its
    settings and metrics."""
    both = sorted(before.manifests.keys() & after.manifests.keys())
    old, new = before.manifests, after.manifests
    made = ctx.manifests.get_all(side[stage] for side in (old, new) for stage in both)
    pairs = [(stage, made[old[stage]], made[new[stage]]) for stage in both]
    return [
        *(_one("decision", name, getattr(before, name), getattr(after, name)) for name in FACTS),
        *_kind("models", before.models, after.models),
        *_results(before, after),
        *_settings(pairs),
        *_metrics(pairs),
    ]


def told(found: Sequence[Compared]) -> list[Compared]:
    """Those that say what changed: neither what is equal nor what is bound to differ."""
    return [one for one in found if one.differs and one.telling]


def rows(found: Sequence[Compared], kind: str, old: int, new: int) -> list[dict[str, str]]:
    """Those of a kind, one row each."""
    return [
        {"what": one.what, f"release {old}": one.was, f"release {new}": one.now}
        for one in found
        if one.kind == kind
    ]


def _results(before: Entry, after: Entry) -> Iterator[Compared]:
    """Results of one day are told apart; those of two days are if one of them has no such stage."""
    one_day = before.day == after.day
    both = before.manifests.keys() & after.manifests.keys()
    for stage in sorted(before.manifests.keys() | after.manifests.keys()):
        was, now = (entry.manifests.get(stage) for entry in (before, after))
        yield _one("results", stage, was, now, telling=one_day or stage not in both)


def _settings(pairs: Pairs) -> Iterator[Compared]:
    for stage, was, now in pairs:
        yield from _kind("settings", leaves(was.config), leaves(now.config), f"{stage} ")


def _metrics(pairs: Pairs) -> Iterator[Compared]:
    """Those of the table of days are telling."""
    figures = set(COLUMNS.values())
    for stage, was, now in pairs:
        for name in sorted(was.metrics.keys() | now.metrics.keys()):
            both = was.metrics.get(name), now.metrics.get(name)
            yield _one("metrics", f"{stage} {name}", *both, telling=(stage, name) in figures)


def _kind(
    kind: str, before: Mapping[str, Any], after: Mapping[str, Any], prefix: str = ""
) -> Iterator[Compared]:
    for name in sorted(before.keys() | after.keys()):
        yield _one(kind, f"{prefix}{name}", before.get(name), after.get(name))


def _one(kind: str, what: str, was: Any, now: Any, telling: bool = True) -> Compared:
    said = _said(was), _said(now)
    if was != now and said[0] == said[1]:  # the difference lies in what is left out
        said = str(was), str(now)
    return Compared(kind, what, *said, was != now, telling)


def _said(value: Any) -> str:
    """A digest by its first digits, a number with six, anything else as it is."""
    if value is None:
        return NONE
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    return text[:SHORT] if len(text) == 64 and text.isalnum() else text
