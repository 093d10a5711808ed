"""`aigq promote`: a person moved `champion` in MLflow. Release that version, or say why not.

A request is judged by what the aliases say now, not by the event that told of it: a delivery that
comes twice, late or never changes nothing. What the model changes (u2q for AIGQ-Direct, x2q for
AIGQ-Think and the click model) is made anew for the day of the current release; all else is
that release's. The stages have names of their own, so the day's own results stay what they are.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from typing import Any

from aigq_tasks.errors import AigqError, NothingToDo
from aigq_tasks.messages import about, say
from aigq_tasks.pipeline.context import Context
from aigq_tasks.pipeline.preflight import preflight
from aigq_tasks.pipeline.reading import record
from aigq_tasks.pipeline.reads import Release
from aigq_tasks.pipeline.runner import run_stage
from aigq_tasks.pipeline.stage import Stage
from aigq_tasks.releases.aliases import (
    UnknownVersion,
    follow_ledger,
    manifest_of,
    reconcile,
    restore_champion,
)
from aigq_tasks.releases.live import go_live
from aigq_tasks.stages.servable import KEPT, KINDS, SERVABLE
from aigq_tasks.stages.u2q import U2Q
from aigq_tasks.stages.x2q import RESCORED_X2Q, X2Q
from aigq_tasks.storage.ledger import Entry
from aigq_tasks.storage.manifests import Manifest
from aigq_tasks.storage.objects import blob_key, sha256
from aigq_tasks.tracking.registry import (
    CHAMPION,
    REGISTERED_MODELS,
    SERVED_AS,
    Registry,
    Version,
)

PROMOTION = "promotion"  # tag of a version: what became of the request
WORDS = 500  # characters of a foreign error message that are told


class RefusedError(Exception):
    """The version cannot be released; the message says why."""


def promote(ctx: Context, who: str) -> None:
    """Answer every version that a person has put `champion` on. who: publishes what comes of it.

    NothingToDo when there is none. LedgerConflict when the current release changed meanwhile: the
    alias stays, and the next call builds on the new one.
    """
    preflight(("s3", "mlflow", "valkey"), ctx)
    asked = reconcile(ctx)
    if not asked:
        raise NothingToDo(f"'{CHAMPION}' of every model is what the ledger serves")
    for version in asked:
        _answer(ctx, version, who)


def _answer(ctx: Context, version: Version, who: str) -> None:
    registry = Registry(ctx.settings.mlflow.url)
    base = ctx.ledger.current()
    if base is None:  # then no alias could differ from the ledger
        return
    about("promote", base.day, base.number)
    try:
        entry = with_version(ctx, base, version, who)
    except (RefusedError, UnknownVersion) as refusal:
        # The reason first: after a crash between, the request is there still.
        words = f"refused, release {base.number} stays: {refusal}"
        registry.set_tag(version, PROMOTION, words)
        restore_champion(ctx, version)
        say(f"{version} is refused: {refusal}")
        return
    appended = go_live(ctx, entry, after=base.number)
    registry.set_tag(version, PROMOTION, f"release {appended.number}")
    say(f"release {appended.number} is live: release {base.number} with {version}")
    follow_ledger(ctx)


def with_version(ctx: Context, base: Entry, version: Version, who: str) -> Entry:
    """The release `base` with the version in place of its own model, and all that depends on it
    made anew. RefusedError or UnknownVersion says why there can be none."""
    day, kind = base.day, SERVED_AS[version.model]
    manifest = manifest_of(ctx, version)
    if "direct" not in base.models:
        raise RefusedError(f"release {base.number} is of the bootstrap: it has no policy yet")
    _require_intact(ctx, manifest, version, day)
    models = base.models | {kind: manifest.digest}
    made = run_stage(remade_by(kind, base, manifest.digest), ctx, day)
    entry = replace(
        base,
        number=0,
        parent=base.number,
        models=models | {made.stage.removeprefix("promote-"): made.digest},
        verdict="promoted",
        code=ctx.code_digest(),
        config=ctx.config_digest(),
        who=who,
        why=f"{version} was made {CHAMPION} in MLflow",
    )
    servable = run_stage(trial_of(entry.models), ctx, day)
    verdict = record(ctx, servable, "servable.json")
    if not verdict["servable"]:
        raise RefusedError("it cannot be served: " + "; ".join(verdict["reasons"]))
    named = {stage.stage: stage.digest for stage in (made, servable)}
    return replace(entry, manifests=dict(sorted({**base.manifests, **named}.items())))


def remade_by(kind: str, base: Entry, promoted: str) -> Stage[Any]:
    """The stage that makes what depends on the promoted model, a manifest's digest; all else it
    reads of the release `base`, or, as the stage of the day did, of the one before."""
    if kind == "direct":  # lists for the users of the day; others keep those of the release
        return replace(
            U2Q.without("gate", "policy").reading(
                Release("direct", pinned=promoted), Release("u2q", pinned=base.models["u2q"])
            ),
            name="promote-u2q",
        )
    if kind == "think":  # the day's index as it reasons, scored by the release's click model
        return replace(
            X2Q.reading(
                Release("think", pinned=promoted),
                Release("ctr", pinned=base.models["ctr"], key="ctr"),
            ),
            name="promote-x2q",
        )
    return replace(
        RESCORED_X2Q.reading(
            Release("x2q", pinned=base.models["x2q"]), Release("ctr", pinned=promoted, key="ctr")
        ),
        name="promote-x2q",
    )


def trial_of(models: Mapping[str, str]) -> Stage[Any]:
    """The servable verdict on a release of these models, not on what the day's results make.
    Histories are told in the texts that the stages of the day read, as they were for its lists."""
    of_the_day = ("gate", "policy", "think-policy")
    of_the_parent = (Release(kind).key for kind in KEPT)
    pinned = (Release(kind, pinned=models[kind], key=kind) for kind in KINDS)
    return replace(
        SERVABLE.without(*of_the_day, *of_the_parent).reading(*pinned), name="promote-servable"
    )


def _require_intact(ctx: Context, manifest: Manifest, version: Version, day: date) -> None:
    """RefusedError unless the manifest is one of this model, of no later day than the release's,
    and its files are there and can be loaded."""
    if REGISTERED_MODELS.get(manifest.stage) != version.model:
        raise RefusedError(f"its manifest is one of '{manifest.stage}', not of {version.model}")
    if manifest.day > day:
        raise RefusedError(
            f"it has seen the log of {manifest.day}, which the release of {day} has not: "
            f"release {manifest.day} first"
        )
    held = {}
    for name, output in sorted(manifest.outputs.items()):
        data = ctx.store.get(blob_key(output.digest))
        if data is None:
            raise RefusedError(f"its file {name} is gone from the object store")
        if sha256(data) != output.digest:
            raise RefusedError(f"its file {name} is damaged in the object store")
        held[name] = data
    try:
        _load(version.model, held)
    except Exception as error:  # whatever makes a loader fail, it fails for the version
        raise RefusedError(f"it cannot be loaded: {str(error)[:WORDS]}") from error


def _load(name: str, held: dict[str, bytes]) -> None:
    """Load a registered model as those who serve it do; AigqError if it holds numbers that are
    none."""
    import torch

    from aigq_tasks.policy.backbone import load_policy
    from ctr_model.model import CtrModel

    if SERVED_AS[name] == "ctr":
        CtrModel.from_files(held)
        return
    network, _ = load_policy(held)
    if not all(bool(torch.isfinite(weights).all()) for weights in network.parameters()):
        raise AigqError("its weights are not all finite")
