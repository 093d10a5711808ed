"""Running a stage for a day: check services, skip what is done, compute, publish, track.

The manifest is what makes a result visible. It is created after all blobs are stored, so a
crash before it leaves nothing that a reader could find, and a crash after it loses only the
MLflow run, which the next run of the same stage and day makes up.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from importlib.metadata import version
from typing import Any, Protocol

import requests

from aigq_tasks.errors import AigqError
from aigq_tasks.messages import about, say
from aigq_tasks.registry import REGISTERED_MODELS
from aigq_tasks.stages.context import Context
from aigq_tasks.storage.crash import crash_point
from aigq_tasks.storage.manifests import Manifest, Output
from aigq_tasks.tracking import Tracking

CHARTS = "charts/"  # outputs under this name are shown in MLflow
PING_SECONDS = 3.0
START_HINT = "start the services with 'make up'"


@dataclass(frozen=True)
class StageOutput:
    """What a stage computed. files: name -> bytes. metrics: finite numbers, or strings.

    tags: facts to find the run by. charts: file name -> PNG bytes. All of it is stored with
    the manifest, so all of it must be the same for the same inputs.
    """

    files: dict[str, bytes]
    metrics: dict[str, float | str]
    tags: dict[str, str] = field(default_factory=dict)
    charts: dict[str, bytes] = field(default_factory=dict)


class Stage(Protocol):
    """A pure function of a day's inputs and its config, plus where to find both."""

    @property
    def name(self) -> str: ...

    @property
    def needs(self) -> tuple[str, ...]:
        """Services that must answer: "s3", "mlflow", "valkey"."""
        ...

    def inputs(self, ctx: Context, day: date) -> dict[str, str]:
        """Name -> digest of each upstream manifest or ledger entry; AigqError when missing."""
        ...

    def config(self, ctx: Context) -> dict[str, Any]:
        """The settings that change the outputs, as JSON values."""
        ...

    def compute(self, ctx: Context, day: date) -> StageOutput:
        """The outputs. Reads only what `inputs` names, and writes nothing."""
        ...


def run_stage(stage: Stage, ctx: Context, day: date) -> Manifest:
    """Bring `stage` up to date for `day` and return the manifest of its result.

    Nothing is computed when the latest result has the same inputs, config and version.
    Stages that need "mlflow" have their result logged there, once. AigqError when a service
    is absent, an input is missing, or an input changed while the stage ran.
    """
    about(stage.name, day)
    preflight(stage.needs, ctx)
    parent = ctx.ledger.parent_of(day)
    about(stage.name, day, parent.number if parent else None)
    asked = wanted(stage, ctx, day)
    manifest = ctx.manifests.head(stage.name, day)
    seconds = None
    if manifest is not None and manifest.input_digest == asked.input_digest:
        say(f"{stage.name} {day}: up to date ({_label(manifest)})", manifest=manifest.digest)
    else:
        started = time.perf_counter()
        manifest = _execute(stage, ctx, asked)
        seconds = time.perf_counter() - started
        say(
            f"{stage.name} {day}: done in {seconds:.1f} s ({_label(manifest)})",
            manifest=manifest.digest,
            seconds=round(seconds, 1),
        )
    if "mlflow" in stage.needs:
        _track(ctx, manifest, seconds)
    return manifest


def wanted(stage: Stage, ctx: Context, day: date) -> Manifest:
    """The manifest that the stage's result would have now, without outputs. AigqError when an
    input is missing."""
    return Manifest(
        stage=stage.name,
        day=day,
        inputs=stage.inputs(ctx, day),
        config=stage.config(ctx),
        version=version("aigq"),
    )


def preflight(needs: tuple[str, ...], ctx: Context) -> None:
    """Raise AigqError with one line for each needed service that does not answer."""
    checks: Mapping[str, Callable[[Context], None]] = {
        "s3": lambda ctx: ctx.store.ping(),
        "mlflow": _ping_mlflow,
        "valkey": _ping_valkey,
    }
    problems = []
    for service in needs:
        try:
            checks[service](ctx)
        except AigqError as error:
            problems.append(str(error))
    if problems:
        raise AigqError("\n".join(problems))


def _execute(stage: Stage, ctx: Context, wanted: Manifest) -> Manifest:
    output = stage.compute(ctx, wanted.day)
    crash_point("computed")
    # Heads only move forward: equal inputs before and after mean compute read just these.
    if stage.inputs(ctx, wanted.day) != wanted.inputs:
        raise AigqError(
            f"inputs of {stage.name} {wanted.day} changed while it ran: "
            f"run 'aigq {stage.name} --day {wanted.day}' again"
        )
    charts = {CHARTS + name: png for name, png in output.charts.items()}
    outputs = {}
    for name, data in sorted({**output.files, **charts}.items()):
        outputs[name] = Output(ctx.store.put_blob(data), len(data))
        crash_point("object")
    crash_point("objects")
    metrics = {
        name: value if isinstance(value, str) else float(value)
        for name, value in {**output.tags, **output.metrics}.items()
    }
    return ctx.manifests.create(replace(wanted, outputs=outputs, metrics=metrics))


def _track(ctx: Context, manifest: Manifest, seconds: float | None) -> None:
    mlflow = ctx.settings.mlflow
    tracking = Tracking(mlflow.url, mlflow.experiment, ctx.settings.s3.bucket)
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


def _ping_mlflow(ctx: Context) -> None:
    url = ctx.settings.mlflow.url
    try:
        requests.get(f"{url}/health", timeout=PING_SECONDS).raise_for_status()
    except requests.RequestException as error:
        raise AigqError(f"MLflow does not answer at {url}: {START_HINT}") from error


def _ping_valkey(ctx: Context) -> None:
    import valkey

    url = ctx.settings.valkey.url
    timeouts = {"socket_connect_timeout": PING_SECONDS, "socket_timeout": PING_SECONDS}
    try:
        with valkey.Valkey.from_url(url, **timeouts) as client:
            client.ping()
    except valkey.ValkeyError as error:
        raise AigqError(f"Valkey does not answer at {url}: {START_HINT}") from error


def _label(manifest: Manifest) -> str:
    return f"r{manifest.revision}, {manifest.digest[:6]}"
