"""What the release ledger tells: all of it, one release, and what changed between two."""

from collections.abc import Iterator, Mapping

from aigq_tasks.pipeline.context import Context
from aigq_tasks.storage.ledger import Entry

SHORT = 8  # digits of a digest that people read


def ledger_rows(ctx: Context) -> list[dict[str, str]]:
    """The ledger and the shelf, one row per entry, the newest day first."""
    entries = [*ctx.ledger.entries(), *ctx.ledger.shelf()]
    newest_first = sorted(entries, key=lambda one: (one.day, abs(one.number)), reverse=True)
    return [
        {
            "release": _name(entry.number),
            "day": entry.day.isoformat(),
            "verdict": entry.verdict,
            "parent": _name(entry.parent or 0),
            **{kind: entry.models.get(kind, "-")[:SHORT] for kind in ("direct", "think", "ctr")},
            "who": entry.who,
            "why": entry.why,
        }
        for entry in newest_first
    ]


def fact_rows(entry: Entry) -> list[dict[str, str]]:
    """What was decided of a release, one row per fact."""
    names = ("day", "revision", "verdict", "parent", "who", "why", "code", "config")
    return [{"what": name, "value": str(getattr(entry, name))} for name in names]


def model_rows(ctx: Context, entry: Entry) -> list[dict[str, str]]:
    """The models that a release serves, and what made each of them."""
    made = ctx.manifests.get_all(entry.models.values())
    return [
        {
            "serves": kind,
            "made by": made[digest].stage,
            "day": str(made[digest].day),
            "revision": str(made[digest].revision),
            "manifest": digest,
        }
        for kind, digest in sorted(entry.models.items())
    ]


def stage_rows(ctx: Context, entry: Entry) -> list[dict[str, str]]:
    """What the day of a release ran, and of what each result was made."""
    ran = ctx.manifests.get_all(entry.manifests.values())
    return [
        {
            "stage": stage,
            "manifest": digest[:SHORT],
            "inputs": ", ".join(f"{name} {of[:SHORT]}" for name, of in ran[digest].inputs.items()),
            "metrics": str(len(ran[digest].metrics)),
        }
        for stage, digest in sorted(entry.manifests.items())
    ]


def difference_rows(ctx: Context, old: int, new: int) -> list[dict[str, str]]:
    """All that differs between two releases: facts of the entries, the models they serve, and of
    each stage its settings and its metrics. AigqError for a number that is none."""
    before, after = ctx.ledger.entry(old), ctx.ledger.entry(new)
    return [
        {"what": what, f"release {old}": was, f"release {new}": now}
        for what, was, now in differences(ctx, before, after)
    ]


def differences(ctx: Context, before: Entry, after: Entry) -> Iterator[tuple[str, str, str]]:
    """(what, before, after) of `difference_rows`."""
    for name in ("day", "verdict", "parent", "code", "config"):
        yield from _changed({name: getattr(before, name)}, {name: getattr(after, name)})
    yield from _changed(before.models, after.models, "model ")
    for stage in sorted(before.manifests.keys() & after.manifests.keys()):
        pair = [ctx.manifests.get(entry.manifests[stage]) for entry in (before, after)]
        yield from _changed(pair[0].config, pair[1].config, f"{stage} setting ")
        yield from _changed(pair[0].metrics, pair[1].metrics, f"{stage} ")


def _name(number: int) -> str:
    """A release as people call it: 4, or "shelf 2" for one that never went live."""
    return f"shelf {-number}" if number < 0 else str(number or "-")


def _changed(
    before: Mapping[str, object], after: Mapping[str, object], prefix: str = ""
) -> Iterator[tuple[str, str, str]]:
    for name in sorted(before.keys() | after.keys()):
        was, now = (str(side.get(name, "-")) for side in (before, after))
        if was != now:
            yield f"{prefix}{name}", _short(was), _short(now)


def _short(text: str) -> str:
    """A digest by its first digits, anything else as it is."""
    return text[:SHORT] if len(text) == 64 and text.isalnum() else text
