"""What the release ledger tells, and going back in it."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from rich.console import Console
from rich.table import Table

from aigq_tasks.errors import AigqError
from aigq_tasks.messages import say
from aigq_tasks.stages.aliases import follow_ledger
from aigq_tasks.stages.context import Context
from aigq_tasks.stages.publish import publisher
from aigq_tasks.stages.release import go_live, settle
from aigq_tasks.stages.runner import preflight
from aigq_tasks.storage.ledger import Entry

SHORT = 8  # digits of a digest that people read


def print_releases(ctx: Context) -> None:
    """Print the ledger and the shelf, the newest day first, one line per entry."""
    preflight(("s3",), ctx)
    shown = Table("release", "day", "verdict", "parent", "direct", "think", "ctr", "who", "why")
    entries = [*ctx.ledger.entries(), *ctx.ledger.shelf()]
    for entry in sorted(entries, key=lambda own: (own.day, abs(own.number)), reverse=True):
        models = [entry.models.get(kind, "-")[:SHORT] for kind in ("direct", "think", "ctr")]
        shown.add_row(
            _name(entry.number),
            entry.day.isoformat(),
            entry.verdict,
            _name(entry.parent or 0),
            *models,
            entry.who,
            entry.why,
        )
    Console(width=140).print(shown)


def _name(number: int) -> str:
    """A release as people call it: 4, or "shelf 2" for one that never went live."""
    return f"shelf {-number}" if number < 0 else str(number or "-")


def print_release(ctx: Context, number: int) -> None:
    """Print all that a release was made of."""
    preflight(("s3",), ctx)
    entry = ctx.ledger.entry(number)
    facts = {name: getattr(entry, name) for name in ("day", "revision", "verdict", "parent")}
    facts |= {name: getattr(entry, name) for name in ("who", "why", "code", "config")}
    shown = Table("what", "", show_header=False, box=None)
    for name, value in facts.items():
        shown.add_row(name, str(value))
    console = Console(width=140)
    console.print(f"release {number}", shown)
    made = Table("serves", "made by", "day", "revision", "manifest", title="models")
    for kind, digest in sorted(entry.models.items()):
        manifest = ctx.manifests.get(digest)
        made.add_row(kind, manifest.stage, str(manifest.day), str(manifest.revision), digest)
    console.print(made)
    stages = Table("stage", "manifest", "inputs", "metrics", title="what the day ran")
    for stage, digest in sorted(entry.manifests.items()):
        manifest = ctx.manifests.get(digest)
        inputs = ", ".join(f"{name} {own[:SHORT]}" for name, own in manifest.inputs.items())
        stages.add_row(stage, digest[:SHORT], inputs, str(len(manifest.metrics)))
    console.print(stages)


def print_difference(ctx: Context, old: int, new: int) -> None:
    """Print what changed from release `old` to release `new`."""
    preflight(("s3",), ctx)
    before, after = ctx.ledger.entry(old), ctx.ledger.entry(new)
    shown = Table("what", f"release {old}", f"release {new}")
    for what, was, now in differences(ctx, before, after):
        shown.add_row(what, was, now)
    Console(width=140).print(shown)


def differences(ctx: Context, before: Entry, after: Entry) -> Iterator[tuple[str, str, str]]:
    """(what, before, after) of all that differs: facts of the entries, the models they serve,
    and of each stage its settings and its metrics."""
    for name in ("day", "verdict", "parent", "code", "config"):
        yield from _changed({name: getattr(before, name)}, {name: getattr(after, name)})
    yield from _changed(before.models, after.models, "model ")
    for stage in sorted(before.manifests.keys() & after.manifests.keys()):
        pair = [ctx.manifests.get(entry.manifests[stage]) for entry in (before, after)]
        yield from _changed(pair[0].config, pair[1].config, f"{stage} setting ")
        yield from _changed(pair[0].metrics, pair[1].metrics, f"{stage} ")


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


def rollback(ctx: Context, number: int, why: str) -> Entry:
    """Serve again what release `number` served; the next daily run goes on from it.

    Nothing is rebuilt: its lists and its index are loaded into Valkey if they are gone, and one
    entry is appended, of the current release's day. AigqError for an unknown release or one
    without a policy; LedgerConflict if a later day was released meanwhile.
    """
    preflight(("s3", "valkey"), ctx)
    target, current = ctx.ledger.entry(number), ctx.ledger.current()
    if "direct" not in target.models:
        raise AigqError(f"release {number} ({target.day}) has no policy to go back to")
    if current is None or current.models == target.models:
        settle(ctx)
        say(f"release {number} is what is served already")
        return current or target
    entry = replace(
        target,
        day=current.day,
        revision=current.revision,
        parent=number,
        verdict="rollback",
        code=ctx.code_digest(),
        config=ctx.config_digest(),
        who=publisher(),
        why=why,
    )
    appended = go_live(ctx, entry)
    say(f"release {appended.number} is live: what release {number} ({target.day}) served")
    follow_ledger(ctx)
    return appended
