"""`aigq promote`: a person moved `champion` in MLflow. Release that version, or say why not.

A request is judged by what the aliases say now, not by the event that told of it: a delivery that
comes twice, late or never changes nothing. What the model changes (u2q for AIGQ-Direct, x2q for
AIGQ-Think and the click model) is made anew for the day of the current release; all else is
that release's. The stages have names of their own, so the day's own results stay what they are.
"""

from dataclasses import replace
from datetime import date
from typing import Any

from aigq_tasks.errors import AigqError, NothingToDo
from aigq_tasks.messages import about, say
from aigq_tasks.registry import CHAMPION, REGISTERED_MODELS, SERVED_AS, Registry, Version
from aigq_tasks.stages.aliases import (
    UnknownVersion,
    follow_ledger,
    manifest_of,
    reconcile,
    restore_champion,
)
from aigq_tasks.stages.context import Context
from aigq_tasks.stages.generation import generation_config
from aigq_tasks.stages.publish import publisher
from aigq_tasks.stages.reading import (
    log_window,
    model,
    record,
    release_digest,
    table,
    window_digest,
)
from aigq_tasks.stages.release import go_live
from aigq_tasks.stages.runner import Stage, StageOutput, preflight, run_stage
from aigq_tasks.stages.servable import ServableStage
from aigq_tasks.stages.u2q import build_u2q
from aigq_tasks.stages.x2q import X2qStage, index_of
from aigq_tasks.storage.ledger import Entry
from aigq_tasks.storage.manifests import Manifest
from aigq_tasks.storage.objects import blob_key, sha256
from aigq_tasks.storage.tables import to_parquet

PROMOTION = "promotion"  # tag of a version: what became of the request
WORDS = 500  # characters of a foreign error message that are told


class RefusedError(Exception):
    """The version cannot be released; the message says why."""


def promote(ctx: Context) -> None:
    """Answer every version that a person has put `champion` on.

    NothingToDo when there is none. LedgerConflict when the current release changed meanwhile: the
    alias stays, and the next call builds on the new one.
    """
    preflight(("s3", "mlflow", "valkey"), ctx)
    asked = reconcile(ctx)
    if not asked:
        raise NothingToDo(f"'{CHAMPION}' of every model is what the ledger serves")
    for version in asked:
        _answer(ctx, version)


def _answer(ctx: Context, version: Version) -> None:
    registry = Registry(ctx.settings.mlflow.url)
    base = ctx.ledger.current()
    if base is None:  # then no alias could differ from the ledger
        return
    about("promote", base.day, base.number)
    try:
        entry = candidate(ctx, base, version)
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


def candidate(ctx: Context, base: Entry, version: Version) -> Entry:
    """The release `base` with the version in place of its own model, and all that depends on it
    made anew. RefusedError or UnknownVersion says why there can be none."""
    day, kind = base.day, SERVED_AS[version.model]
    manifest = manifest_of(ctx, version)
    if "direct" not in base.models:
        raise RefusedError(f"release {base.number} is of the bootstrap: it has no policy yet")
    _require_intact(ctx, manifest, version, day)
    models = base.models | {kind: manifest.digest}
    made = run_stage(_rebuild(base, models, kind, manifest), ctx, day)
    entry = replace(
        base,
        number=0,
        parent=base.number,
        models=models | {made.stage.removeprefix("promote-"): made.digest},
        verdict="promoted",
        code=ctx.code_digest(),
        config=ctx.config_digest(),
        who=publisher(),
        why=f"{version} was made {CHAMPION} in MLflow",
    )
    servable = run_stage(PromotedServableStage(entry), ctx, day)
    verdict = record(ctx, servable, "servable.json")
    if not verdict["servable"]:
        raise RefusedError("it cannot be served: " + "; ".join(verdict["reasons"]))
    named = {stage.stage: stage.digest for stage in (made, servable)}
    return replace(entry, manifests=dict(sorted({**base.manifests, **named}.items())))


def _rebuild(base: Entry, models: dict[str, str], kind: str, promoted: Manifest) -> Stage:
    """The stage that makes what depends on the promoted model."""
    if kind == "direct":
        return PromotedU2qStage(base, promoted)
    return PromotedX2qStage(models) if kind == "think" else RescoredX2qStage(base, promoted)


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


class PromotedU2qStage:
    """Lists of the promoted policy for the users of the day; others keep those of the release."""

    name = "promote-u2q"
    needs: tuple[str, ...] = ("s3", "mlflow")

    def __init__(self, base: Entry, policy: Manifest) -> None:
        self.base, self.policy = base, policy

    def inputs(self, ctx: Context, day: date) -> dict[str, str]:
        return {
            "policy": self.policy.digest,
            "release": release_digest(self.base),
            "logs": window_digest(log_window(ctx, day)),
        }

    def config(self, ctx: Context) -> dict[str, Any]:
        return generation_config(ctx)

    def compute(self, ctx: Context, day: date) -> StageOutput:
        return build_u2q(ctx, day, self.policy, model(ctx, self.base, "u2q"))


class PromotedX2qStage(X2qStage):
    """The day's index as the promoted AIGQ-Think reasons, scored by the release's click model."""

    name = "promote-x2q"

    def __init__(self, models: dict[str, str]) -> None:
        self.models = models

    def think(self, ctx: Context, day: date) -> Manifest:
        return ctx.manifests.get(self.models["think"])

    def click(self, ctx: Context, day: date) -> Manifest:
        return ctx.manifests.get(self.models["ctr"])


class RescoredX2qStage:
    """The release's index scored by the promoted click model: what was reasoned stays."""

    name = "promote-x2q"
    needs: tuple[str, ...] = ("s3", "mlflow")

    def __init__(self, base: Entry, click: Manifest) -> None:
        self.base, self.click = base, click

    def inputs(self, ctx: Context, day: date) -> dict[str, str]:
        return {
            "x2q": self.base.models["x2q"],
            "ctr": self.click.digest,
            "logs": window_digest(log_window(ctx, day)),
        }

    def config(self, ctx: Context) -> dict[str, Any]:
        return ctx.settings.x2q.model_dump()

    def compute(self, ctx: Context, day: date) -> StageOutput:
        ties = table(ctx, model(ctx, self.base, "x2q"), "ties")
        entries = index_of(ctx, day, ties, self.click)
        metrics: dict[str, float | str] = {
            "triggers": float(entries["trigger"].nunique()),
            "entries": float(len(entries)),
        }
        output = {"x2q.parquet": to_parquet(entries), "ties.parquet": to_parquet(ties)}
        return StageOutput(files=output, metrics=metrics)


class PromotedServableStage(ServableStage):
    """The servable verdict on a release with a promoted model."""

    name = "promote-servable"

    def __init__(self, entry: Entry) -> None:
        self.entry = entry

    def release(self, ctx: Context, day: date) -> Entry:
        return self.entry
