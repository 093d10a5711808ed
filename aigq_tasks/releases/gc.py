"""`aigq gc`: remove what no kept release needs, neither to serve nor to go on from.

Kept are the releases of the last days, with all that they were made of: the manifests that their
entries name, the manifests that those read, the outputs of all of them, and the logs of the
history window. What leads from each day to the one before is not followed, or all there ever was
would stay: the models of the release that a day started from, and what a log was made of. Kept too
are the newest results of the last days, released or not. The ledger and the shelf stay whole: they
are small, and say what was. So do branches (A/B tests), with what lies on them alone; of the days
before one nothing is kept for its sake: it can be looked at, and not gone on with once they went.
"""

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta

from rich.progress import track

from aigq_tasks.errors import AigqError
from aigq_tasks.pipeline.context import Context
from aigq_tasks.pipeline.lines import POLICY, SCORES, judged, week_ago
from aigq_tasks.pipeline.preflight import preflight
from aigq_tasks.pipeline.reads import LOGS, OF_RELEASE
from aigq_tasks.storage.branch import Branch, branch_names
from aigq_tasks.storage.crash import crash_point
from aigq_tasks.storage.ledger import Entry, Ledger, live_on
from aigq_tasks.storage.manifests import Manifest, Manifests
from aigq_tasks.storage.objects import blob_key


@dataclass(frozen=True)
class Collected:
    """How much went, or would go, and how much is kept."""

    objects: int
    kept_results: int
    kept_releases: int


def collect(ctx: Context, days: int, grace_hours: float, dry: bool) -> Collected:
    """Delete what is not kept: all manifests before the first object, so that none ever points at
    nothing, also when the collection is killed.

    What is younger than `grace_hours` stays: a stage that runs now stores its outputs before its
    manifest, and a young manifest may share objects with old ones. With `dry` nothing is deleted.
    AigqError without a release: nothing is known to be kept then.
    """
    preflight(("s3",), ctx)
    if ctx.ledger.current() is None:
        raise AigqError("nothing is released yet, so nothing is known to be kept")
    known = {key: ctx.manifests.read(key) for key in ctx.store.list("manifests/")}
    by_digest = {manifest.digest: manifest for manifest in known.values()}
    entries = [*ctx.ledger.entries(), *ctx.ledger.shelf()]
    kept = needed(by_digest, entries, days, ctx.settings.history_days)
    unkept = [key for key, manifest in known.items() if manifest.digest not in kept]
    manifests = _older(ctx, unkept, grace_hours)
    young = {known[key].digest for key in set(unkept) - set(manifests)}
    kept = closure(by_digest, kept | young)
    manifests = [key for key in manifests if known[key].digest not in kept]
    bodies = {entry.digest for entry in entries}  # what their readers check them against
    on_branches = {digest for name in branch_names(ctx.store) for digest in _on_branch(ctx, name)}
    wanted = {blob_key(own) for own in objects_of(by_digest, kept) | bodies | on_branches}
    listed = [key for key in ctx.store.list("objects/") if key not in wanted]
    objects = _older(ctx, listed, grace_hours)
    if not dry:
        _remove(ctx, manifests, "manifest")
        crash_point("gc-manifests")
        _remove(ctx, objects, "object")
    return Collected(len(manifests) + len(objects), len(kept), len(entries))


def _on_branch(ctx: Context, name: str) -> set[str]:
    """Digests of the objects that lie on a branch."""
    branch = Branch.open(ctx.store, name)
    manifests = Manifests(branch)
    made = {own.digest: own for own in map(manifests.read, branch.own_keys("manifests/"))}
    entries = Ledger(branch).entries()[branch.last_entry :]
    return objects_of(made, made) | {entry.digest for entry in entries}


def _older(ctx: Context, keys: list[str], hours: float) -> list[str]:
    return [key for key in keys if ctx.store.age_hours(key) >= hours]


def _remove(ctx: Context, keys: list[str], kind: str) -> None:
    def remove(key: str) -> None:
        ctx.store.delete(key)
        crash_point(f"gc-{kind}")

    with ThreadPoolExecutor(8) as pool:
        list(track(pool.map(remove, keys), f"removing {kind}s", total=len(keys)))


def needed(
    manifests: Mapping[str, Manifest], entries: Iterable[Entry], days: int, history_days: int
) -> set[str]:
    """Digests of the manifests to keep.

    manifests: all of them, by digest. entries: of ledger and shelf. days: those of the newest
    entry's last `days` days are kept, and the one that served when they began.
    """
    entries = list(entries)
    first = max(entry.day for entry in entries) - timedelta(days=days - 1)
    served = live_on([entry for entry in entries if entry.number > 0], first)
    kept = [entry for entry in entries if entry.day >= first] + ([served] if served else [])
    oldest_log = min(entry.day for entry in kept) - timedelta(days=history_days)
    wanted = {digest for entry in kept for digest in _named(entry)}
    wanted |= {digest for entry in kept for digest in _behind(entries, entry)}
    heads: dict[tuple[str, str], Manifest] = {}
    for manifest in manifests.values():
        place = (manifest.stage, manifest.day.isoformat())
        if place not in heads or manifest.revision > heads[place].revision:
            heads[place] = manifest
    for manifest in heads.values():
        if manifest.day >= (oldest_log if manifest.stage == LOGS else first):
            wanted.add(manifest.digest)
    return closure(manifests, wanted)


def _behind(entries: list[Entry], head: Entry) -> Iterator[str]:
    """What the run that goes on from `head` reads of the line behind it."""
    day = head.day + timedelta(days=1)
    for entry in judged(entries, head, day):
        yield from (entry.manifests[SCORES], entry.models[POLICY])
    anchor = week_ago(entries, head, day)
    if anchor is not None and POLICY in anchor.models:
        yield anchor.models[POLICY]


def _named(entry: Entry) -> set[str]:
    return {*entry.manifests.values(), *entry.models.values()}


def closure(manifests: Mapping[str, Manifest], wanted: Iterable[str]) -> set[str]:
    """The wanted manifests and all that they were made of, as far as there is a manifest of it and
    it does not lead to the day before."""
    found: set[str] = set()
    ahead = [digest for digest in wanted if digest in manifests]
    while ahead:
        digest = ahead.pop()
        if digest not in found:
            found.add(digest)
            ahead += [one for one in _made_of(manifests[digest]) if one in manifests]
    return found


def _made_of(manifest: Manifest) -> Iterable[str]:
    if manifest.stage == LOGS:
        return []
    return [own for key, own in manifest.inputs.items() if not key.startswith(OF_RELEASE)]


def objects_of(manifests: Mapping[str, Manifest], kept: Iterable[str]) -> set[str]:
    """Digests of the objects that the kept manifests need: their own bodies and their outputs."""
    return {
        digest
        for own in kept
        for digest in (own, *(output.digest for output in manifests[own].outputs.values()))
    }
