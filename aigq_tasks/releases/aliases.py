"""MLflow's aliases and verdicts, derived from the ledger and the gate: run again, nothing happens.

`champion` is on the version that the current release serves, `challenger` on the newest version
that a gate judged, unless that is the champion itself. MLflow lets the last writer of an alias
win, so an alias decides nothing: the ledger is the truth, and a `champion` that a person moved is
a request, which `aigq promote` answers.

A person's move is told from an alias that the ledger has left behind by a tag of the registered
model, which holds the versions that this module put `champion` on. It is written before the
alias is moved, with the old and the new version, and after it, so a crash between cannot make an
own move look like a person's.
"""

import re
from collections.abc import Sequence
from dataclasses import replace

from aigq_tasks.errors import AigqError
from aigq_tasks.messages import say
from aigq_tasks.pipeline.context import Context
from aigq_tasks.pipeline.lines import POLICY
from aigq_tasks.pipeline.reading import record
from aigq_tasks.pipeline.reads import OF_RELEASE
from aigq_tasks.storage.ledger import Entry
from aigq_tasks.storage.manifests import Manifest
from aigq_tasks.storage.objects import blob_key, sha256
from aigq_tasks.tracking.registry import (
    CHALLENGER,
    CHAMPION,
    SERVED_AS,
    RegisteredModel,
    Registry,
    Version,
)

OURS = "champion_by_ledger"  # tag of a registered model: numbers of versions, see above
DIGEST = re.compile(r"[0-9a-f]{64}")


class UnknownVersion(AigqError):  # noqa: N818 - a fact about what a person made
    """Nothing in the object store says what a version of a registered model is."""


def follow_ledger(ctx: Context) -> None:
    """`reconcile` after a release, which is live without it: an MLflow that does not answer is
    reported and no fault."""
    try:
        reconcile(ctx)
    except AigqError as error:
        say(f"MLflow's aliases wait ({error}); `aigq reconcile` brings them up to date")


def reconcile(ctx: Context) -> list[Version]:
    """Bring tags and aliases to what the ledger and the gates say.

    Returns the versions that a person has put `champion` on and the release does not serve;
    these aliases stay where they are. AigqError when MLflow or S3 fails.
    """
    registry, current = Registry(ctx.settings.mlflow.url), ctx.ledger.current()
    if current is None:
        return []
    found = (_reconcile(ctx, registry, name, current) for name in SERVED_AS)
    return [version for version in found if version]


def _reconcile(ctx: Context, registry: Registry, name: str, current: Entry) -> Version | None:
    model = registry.model(name)
    if model is None:
        return None
    versions = [_described(ctx, registry, own) for own in registry.versions(name)]
    champion = _served(versions, current, name)
    newest = max((own for own in versions if _is_judged(own)), key=_age, default=None)
    _put(registry, name, model, CHALLENGER, newest if newest != champion else None)
    held = model.aliases.get(CHAMPION)
    asked = next((own for own in versions if own.number == held), None)
    if asked and not _is_ours(model, asked) and _served([asked], current, name) is None:
        return asked
    if champion:
        _put_champion(registry, model, champion)
    elif SERVED_AS[name] in current.models:
        say(f"MLflow has no version of {name} that release {current.number} serves")
    return None


def _served(versions: Sequence[Version], entry: Entry, name: str) -> Version | None:
    """The version of the model that the release serves; the first, if a person copied it."""
    digest = entry.models.get(SERVED_AS[name], "")
    return next((own for own in versions if own.tags.get("manifest", "-") == digest), None)


def restore_champion(ctx: Context, refused: Version) -> None:
    """Put `champion` back on what the current release serves, unless it left the refused version
    meanwhile: then it is another request."""
    registry, current = Registry(ctx.settings.mlflow.url), ctx.ledger.current()
    model = registry.model(refused.model)
    if current is None or model is None or model.aliases.get(CHAMPION) != refused.number:
        return
    champion = _served(registry.versions(refused.model), current, refused.model)
    if champion:
        _put_champion(registry, model, champion)
    else:
        registry.delete_alias(refused.model, CHAMPION)


def _put_champion(registry: Registry, model: RegisteredModel, version: Version) -> None:
    """Point `champion` at the version, as the ledger's doing; nothing happens when it is so."""
    held = model.aliases.get(CHAMPION)
    if held != version.number:
        registry.set_model_tag(version.model, OURS, f"{held} {version.number}")
        _put(registry, version.model, model, CHAMPION, version)
        say(f"champion of {version.model}: version {version.number}")
    if held != version.number or model.tags.get(OURS) != str(version.number):
        registry.set_model_tag(version.model, OURS, str(version.number))


def _put(
    registry: Registry, name: str, model: RegisteredModel, alias: str, version: Version | None
) -> None:
    held = model.aliases.get(alias)
    if version and version.number != held:
        registry.set_alias(version, alias)
    elif version is None and held is not None:
        registry.delete_alias(name, alias)


def _is_ours(model: RegisteredModel, version: Version) -> bool:
    return str(version.number) in model.tags.get(OURS, "").split()


def _is_judged(version: Version) -> bool:
    return version.tags.get("verdict") in ("accepted", "rejected")


def _age(version: Version) -> tuple[str, int, int]:
    """Later days come last, and of one day later results."""
    revision = version.tags.get("revision", "")
    number = int(revision) if revision.isdecimal() else 0
    return version.tags.get("day", ""), number, version.number


def _described(ctx: Context, registry: Registry, version: Version) -> Version:
    """The version with its tags `verdict` and `parent`, once the gate has decided."""
    if "verdict" in version.tags:
        return version
    try:
        manifest = manifest_of(ctx, version)
    except UnknownVersion:
        return version
    verdict = verdict_of(ctx, manifest)
    if verdict is None:
        return version
    parent = parent_of(manifest, [*ctx.ledger.entries(), *ctx.ledger.shelf()])
    tags = ({"parent": str(parent.number)} if parent else {}) | {"verdict": verdict}
    for key, value in tags.items():  # the verdict last: with it the version is done
        registry.set_tag(version, key, value)
    return replace(version, tags={**version.tags, **tags})


def manifest_of(ctx: Context, version: Version) -> Manifest:
    """The manifest of the model that the version holds. UnknownVersion when it has none."""
    digest = version.tags.get("manifest", "")
    if not DIGEST.fullmatch(digest):
        raise UnknownVersion("nobody knows what made it: it has no tag 'manifest'")
    data = ctx.store.get(blob_key(digest))
    if data is None:
        raise UnknownVersion(f"its manifest {digest} is gone from the object store")
    if sha256(data) != digest:
        raise UnknownVersion(f"its manifest {digest} is damaged in the object store")
    try:
        return Manifest.from_bytes(data)
    except (ValueError, KeyError, TypeError):
        raise UnknownVersion(f"what its tag 'manifest' names, {digest}, is none") from None


def verdict_of(ctx: Context, manifest: Manifest) -> str | None:
    """What the day's gate said of a model: "accepted" or "rejected", or "bootstrap" for a day that
    no gate judges; None when it judged another, or has not yet."""
    if manifest.day <= ctx.settings.bootstrap_day:
        return "bootstrap"
    gate = ctx.manifests.head("gate", manifest.day)
    if gate is None:
        return None
    verdict = record(ctx, gate, "verdict.json")
    judged = ctx.manifests.get(gate.inputs["evaluate"]).inputs
    accepted = {
        gate.inputs["ctr"]: not verdict["ctr_faults"],
        judged["policy"]: verdict["accepted"],
    }
    if "think-policy" in judged:
        accepted[judged["think-policy"]] = verdict["think"]["accepted"]
    if manifest.digest not in accepted:
        return None
    return "accepted" if accepted[manifest.digest] else "rejected"


def parent_of(manifest: Manifest, entries: Sequence[Entry]) -> Entry | None:
    """The release that a model was trained from: the last one before its day that serves all the
    models which its manifest read of a release; None for the first models, which read none. An
    update that started anew read its policy of another release than all else: then the last that
    serves the policy."""
    read = {
        key.removeprefix(OF_RELEASE): digest
        for key, digest in manifest.inputs.items()
        if key.startswith(OF_RELEASE)
    }
    earlier = [own for own in entries if own.day < manifest.day]
    known = [own for own in earlier if read.items() <= own.models.items()]
    if POLICY in read and not known:
        known = [own for own in earlier if own.models.get(POLICY) == read[POLICY]]
    return max(known, key=lambda own: (own.day, abs(own.number)), default=None) if read else None
