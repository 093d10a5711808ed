"""Running a stage for a day: check services, skip what is done, compute, publish, track.

The manifest is what makes a result visible. It is created after all blobs are stored, so a
crash before it leaves nothing that a reader could find, and a crash after it loses only the
MLflow run, which the next run of the same stage and day makes up.

What a stage reads is resolved once, to manifests that never change. So a result is true of the
inputs that its manifest names, also when newer ones come while it is computed: then the next run
finds it out of date.
"""

import shutil
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from aigq_tasks.messages import about, say
from aigq_tasks.pipeline.context import Context
from aigq_tasks.pipeline.given import Given
from aigq_tasks.pipeline.preflight import preflight
from aigq_tasks.pipeline.reads import Moment, Read, Resolved
from aigq_tasks.pipeline.stage import CHARTS, Output, Stage
from aigq_tasks.storage.canonical import leaves, to_json
from aigq_tasks.storage.crash import crash_point
from aigq_tasks.storage.manifests import Blob, Manifest
from aigq_tasks.storage.tables import to_parquet
from aigq_tasks.teacher.endpoint import Endpoint
from aigq_tasks.tracking.registry import REGISTERED_MODELS
from aigq_tasks.tracking.runs import Tracking

SCRATCH = "checkpoints"  # in the state folder


@dataclass(frozen=True)
class Asked:
    """What running a stage now would mean. manifest: that of the result, without outputs.
    declared: key of a read -> what it stands for, None where nothing is read on such a day."""

    manifest: Manifest
    declared: Mapping[str, Resolved | None]


def ask(stage: Stage[Any], moment: Moment) -> Asked:
    """Resolve all that the stage reads on the day. AigqError when an input is missing."""
    declared = _resolved(stage.reads, moment)
    return Asked(
        Manifest(
            stage=stage.name,
            day=moment.day,
            inputs={key: found.digest for key, found in declared.items() if found},
            config=stage.settings(moment.settings).model_dump(mode="json"),
            version=_own_version(),
        ),
        declared,
    )


@cache
def _own_version() -> str:
    return version("aigq")  # looked up in files: a plan asks for every stage of every day


def given_for(ctx: Context, day: date, reads: Iterable[Read]) -> Given:
    """What a stage with these reads would be given on the day, for whoever looks at the same
    without running a stage. AigqError when an input is missing."""
    declared = _resolved(reads, ctx.moment(day))
    return _given(ctx, declared, ctx.settings.state_dir / SCRATCH / "none")


def run_stage(stage: Stage[Any], ctx: Context, day: date) -> Manifest:
    """Bring `stage` up to date for `day` and return the manifest of its result.

    Nothing is computed when the latest result has the same inputs, settings and version. Stages
    that need "mlflow" have their result logged there, once. AigqError when a service is absent or
    an input is missing.
    """
    about(stage.name, day)
    preflight(stage.needs, ctx)
    moment = ctx.moment(day)
    about(stage.name, day, moment.parent.number if moment.parent else None)
    asked = ask(stage, moment)
    manifest = ctx.manifests.head(stage.name, day)
    seconds = None
    if manifest is not None and stands(stage, manifest, asked.manifest):
        say(f"{stage.name} {day}: up to date ({_label(manifest)})", manifest=manifest.digest)
    else:
        started = time.perf_counter()
        manifest = _execute(stage, ctx, asked)
        seconds = time.perf_counter() - started
        say(
            f"{stage.name} {day}: done in {seconds:.1f} s ({_label(manifest)})",
            manifest=manifest.digest,
            seconds=round(seconds, 1),
            cpu_seconds=round(time.process_time(), 1),  # of the process so far, imports too
        )
    if "mlflow" in stage.needs:
        _track(ctx, manifest, seconds)
    return manifest


def stands(stage: Stage[Any], held: Manifest, wanted: Manifest) -> bool:
    """Whether a result that is there is the one that a run would make."""
    return held.input_digest == wanted.input_digest and stage.final(held)


def stale(stage: Stage[Any], moment: Moment, held: Manifest | None) -> str:
    """Why the stage would run for the moment's day, given its newest result; "" if it would not.
    AigqError when it cannot run, for an input is missing."""
    now = ask(stage, moment).manifest
    if held is None:
        return "it never ran"
    if held.input_digest == now.input_digest:
        return "" if stage.final(held) else "its last result was a refusal"
    changes = [
        f"{kind} {name}"
        for kind, old, new in (
            ("input", held.inputs, now.inputs),
            ("setting", leaves(held.config), leaves(now.config)),
        )
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]
    if held.version != now.version:
        changes.append(f"version {held.version}")
    return f"changed: {', '.join(changes)}"


def _execute(stage: Stage[Any], ctx: Context, asked: Asked) -> Manifest:
    wanted = asked.manifest
    scratch = _scratch(ctx, wanted)
    given = _given(ctx, asked.declared, scratch)
    output = stage.compute(given, stage.settings(ctx.settings), wanted.day)
    crash_point("computed")
    outputs = {}
    for name, data in sorted(files_of(output).items()):
        outputs[name] = Blob(ctx.store.put_blob(data), len(data))
        crash_point("object")
    crash_point("objects")
    metrics = {
        name: value if isinstance(value, str) else float(value)
        for name, value in {**output.tags, **output.metrics}.items()
    }
    made = ctx.manifests.create(replace(wanted, outputs=outputs, metrics=metrics))
    shutil.rmtree(scratch, ignore_errors=True)
    return made


def files_of(output: Output) -> dict[str, bytes]:
    """All that is stored of an output: file name -> bytes."""
    return {
        **output.files,
        **{f"{name}.parquet": to_parquet(rows) for name, rows in output.tables.items()},
        **{name: to_json(value) for name, value in output.records.items()},
        **{CHARTS + name: png for name, png in output.charts.items()},
    }


def _resolved(reads: Iterable[Read], moment: Moment) -> dict[str, Resolved | None]:
    """Key of a read -> what it stands for. Of reads that share a key, one a day may stand for
    something: ValueError for two."""
    declared: dict[str, Resolved | None] = {}
    for read in reads:
        found, other = read.resolve(moment), declared.get(read.key)
        if found and other:
            raise ValueError(f"two reads stand under '{read.key}' on {moment.day}")
        declared[read.key] = found or other
    return declared


def _given(ctx: Context, declared: Mapping[str, Resolved | None], scratch: Path) -> Given:
    teacher = ctx.settings.teacher
    asked = Endpoint(teacher, ctx.store) if teacher.url else None
    return Given(declared, ctx.store.get_blob, asked, scratch, crash_point)


def _scratch(ctx: Context, wanted: Manifest) -> Path:
    """Where a killed run goes on from; another place for other inputs or settings."""
    key = f"{wanted.stage}-{wanted.day}-{wanted.input_digest[:16]}"
    return ctx.settings.state_dir / SCRATCH / key


def _track(ctx: Context, manifest: Manifest, seconds: float | None) -> None:
    mlflow = ctx.settings.mlflow
    source = ctx.source
    tracking = Tracking(
        mlflow.url, mlflow.experiment, ctx.settings.s3.bucket, source.label, source.days()[0]
    )
    if tracking.has(manifest):
        return
    charts = {
        name.removeprefix(CHARTS): ctx.store.get_blob(output.digest)
        for name, output in sorted(manifest.outputs.items())
        if name.startswith(CHARTS)
    }
    model = {
        name: ctx.store.get_blob(output.digest)
        for name, output in sorted(manifest.outputs.items())
        if manifest.stage in REGISTERED_MODELS and not name.startswith(CHARTS)
    }
    tracking.log(manifest, charts, seconds, model)


def _label(manifest: Manifest) -> str:
    return f"r{manifest.revision}, {manifest.digest[:6]}"
