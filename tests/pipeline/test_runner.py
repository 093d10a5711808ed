"""run_stage on real S3 and MLflow: done once, visible as a whole or not at all, tracked once."""

import json
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import Any

import pytest
from servers import free_ports

from aigq_tasks.errors import AigqError
from aigq_tasks.settings import MlflowSettings, ValkeySettings
from aigq_tasks.stages.context import Context
from aigq_tasks.stages.reading import blob, need
from aigq_tasks.stages.runner import StageOutput, preflight, run_stage
from aigq_tasks.storage.ledger import Entry
from aigq_tasks.storage.manifests import Manifest, Output
from aigq_tasks.tracking import Tracking

pytestmark = pytest.mark.integration
DAY = date(2017, 11, 6)


def land_numbers(ctx: Context, numbers: bytes) -> Manifest:
    """What an upstream stage named "numbers" leaves behind."""
    output = Output(ctx.store.put_blob(numbers), len(numbers))
    return ctx.manifests.create(Manifest(stage="numbers", day=DAY, outputs={"n.txt": output}))


@dataclass
class Scale:
    """A small real stage: reads numbers, writes them times a factor, reports their mean."""

    factor: float = 2.0
    name: str = "scale"
    needs: tuple[str, ...] = ("s3", "mlflow")
    computed: int = field(default=0, init=False)

    def inputs(self, ctx: Context, day: date) -> dict[str, str]:
        return {"numbers": need(ctx, "numbers", day).digest}

    def config(self, ctx: Context) -> dict[str, Any]:
        return {"factor": self.factor}

    def compute(self, ctx: Context, day: date) -> StageOutput:
        self.computed += 1
        scaled = [
            float(n) * self.factor for n in blob(ctx, need(ctx, "numbers", day), "n.txt").split()
        ]
        return StageOutput(
            files={"scaled.txt": " ".join(map(str, scaled)).encode()},
            metrics={"mean": sum(scaled) / len(scaled), "unit": "queries"},
            tags={"kind": "scale"},
            charts={"bars.png": b"\x89PNG, as good as any for storing"},
        )


def runs_of(ctx: Context, manifest: Manifest) -> list[Any]:
    from mlflow import MlflowClient

    client = MlflowClient(ctx.settings.mlflow.url)
    experiment = client.get_experiment_by_name(ctx.settings.mlflow.experiment)
    if experiment is None:
        return []
    return list(
        client.search_runs([experiment.experiment_id], f"tags.manifest = '{manifest.digest}'")
    )


def test_a_run_computes_once_and_then_is_up_to_date(
    ctx: Context, capsys: pytest.CaptureFixture[str]
) -> None:
    stage, upstream = Scale(), land_numbers(ctx, b"1 2 6")
    first = run_stage(stage, ctx, DAY)
    # 1 2 6 times 2 is 2 4 12, mean 18 / 3 = 6.
    assert blob(ctx, need(ctx, "scale", DAY), "scaled.txt") == b"2.0 4.0 12.0"
    assert first.metrics == {"mean": 6.0, "unit": "queries", "kind": "scale"}
    assert first.inputs == {"numbers": upstream.digest}
    assert (first.revision, first.outputs["scaled.txt"].size) == (1, 12)
    assert set(first.outputs) == {"scaled.txt", "charts/bars.png"}
    capsys.readouterr()

    assert run_stage(stage, ctx, DAY) == first
    label = f"scale 2017-11-06: up to date (r1, {first.digest[:6]})\n"
    assert capsys.readouterr().out == label
    assert stage.computed == 1
    (run,) = runs_of(ctx, first)
    assert run.info.status == "FINISHED"


def test_a_change_of_config_or_of_an_input_makes_a_new_revision(ctx: Context) -> None:
    stage = Scale(needs=("s3",))
    land_numbers(ctx, b"1")
    assert run_stage(stage, ctx, DAY).revision == 1
    stage.factor = 3.0
    second = run_stage(stage, ctx, DAY)
    assert (second.revision, second.metrics["mean"]) == (2, 3.0)
    land_numbers(ctx, b"5")
    third = run_stage(stage, ctx, DAY)
    assert (third.revision, third.metrics["mean"]) == (3, 15.0)
    assert stage.computed == 3


def test_equal_inputs_give_equal_manifest_bytes_in_another_store(
    ctx: Context, s3_server: Any
) -> None:
    from servers import delete_bucket

    s3 = ctx.settings.s3.model_copy(update={"bucket": f"{ctx.settings.s3.bucket}-b"})
    elsewhere = Context.open(ctx.settings.model_copy(update={"s3": s3}))
    try:
        results = []
        for context in (ctx, elsewhere):
            land_numbers(context, b"1 2")
            results.append(run_stage(Scale(needs=("s3",)), context, DAY).to_bytes())
        assert results[0] == results[1]
    finally:
        delete_bucket(s3_server, s3.bucket)


def test_a_failure_leaves_nothing_visible(ctx: Context) -> None:
    class Broken(Scale):
        def compute(self, ctx: Context, day: date) -> StageOutput:
            return replace(super().compute(ctx, day), metrics={"auc": float("nan")})

    land_numbers(ctx, b"1")
    with pytest.raises(AigqError, match="metric 'auc' is nan"):
        run_stage(Broken(), ctx, DAY)
    assert ctx.manifests.head("scale", DAY) is None
    with pytest.raises(AigqError, match="scale of 2017-11-06 is missing: run 'aigq scale"):
        blob(ctx, need(ctx, "scale", DAY), "scaled.txt")
    assert Tracking(ctx.settings.mlflow.url, ctx.settings.mlflow.experiment).series() is None


def test_an_input_that_changes_while_the_stage_runs_is_not_mixed_in(ctx: Context) -> None:
    class Overtaken(Scale):
        def compute(self, ctx: Context, day: date) -> StageOutput:
            land_numbers(ctx, b"7")
            return super().compute(ctx, day)

    land_numbers(ctx, b"1")
    with pytest.raises(AigqError, match="inputs of scale 2017-11-06 changed while it ran"):
        run_stage(Overtaken(), ctx, DAY)
    assert ctx.manifests.head("scale", DAY) is None
    assert run_stage(Scale(needs=("s3",)), ctx, DAY).metrics["mean"] == 14.0


def test_a_crash_before_tracking_is_made_up_by_the_next_run(
    ctx: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Scale()
    land_numbers(ctx, b"1 2 6")

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Tracking, "log", crash)
        with pytest.raises(KeyboardInterrupt):
            run_stage(stage, ctx, DAY)
    stored = ctx.manifests.head("scale", DAY)
    assert stored is not None
    assert runs_of(ctx, stored) == []

    assert run_stage(stage, ctx, DAY) == stored
    assert stage.computed == 1
    (run,) = runs_of(ctx, stored)
    assert run.data.metrics == {"mean": 6.0}  # no run time: nobody measured this one


def test_a_missing_upstream_names_the_command(ctx: Context) -> None:
    with pytest.raises(AigqError, match="run 'aigq numbers --day 2017-11-06'"):
        run_stage(Scale(), ctx, DAY)


def test_a_file_that_the_stage_did_not_write_is_named(ctx: Context) -> None:
    land_numbers(ctx, b"1")
    with pytest.raises(AigqError, match=r"has no output 'm\.txt', only n\.txt"):
        blob(ctx, need(ctx, "numbers", DAY), "m.txt")


def test_every_absent_service_is_one_line(ctx: Context) -> None:
    preflight(("s3", "mlflow", "valkey"), ctx)  # all three are there
    one, two = free_ports(2)
    absent = replace(
        ctx,
        settings=ctx.settings.model_copy(
            update={"mlflow": MlflowSettings(port=one), "valkey": ValkeySettings(port=two)}
        ),
    )
    stage = Scale(needs=("s3", "mlflow", "valkey"))
    with pytest.raises(AigqError) as caught:
        run_stage(stage, absent, DAY)
    assert str(caught.value).splitlines() == [
        f"MLflow does not answer at http://127.0.0.1:{one}: start the services with 'make up'",
        f"Valkey does not answer at redis://127.0.0.1:{two}/0: start the services with 'make up'",
    ]
    assert stage.computed == 0


def test_a_stage_says_its_day_and_release_to_machines(
    ctx: Context, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    land_numbers(ctx, b"1")
    words: dict[str, Any] = {"verdict": "bootstrap", "code": "", "config": "", "who": "", "why": ""}
    ctx.ledger.append(Entry(day=DAY - timedelta(days=1), revision=1, parent=None, **words))
    monkeypatch.setenv("AIGQ_LOG_FORMAT", "json")
    capsys.readouterr()
    manifest = run_stage(Scale(needs=("s3",)), ctx, DAY)
    (line,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert line["event"].startswith("scale 2017-11-06: done in ")
    assert (line["stage"], line["day"], line["release"]) == ("scale", "2017-11-06", 1)
    assert line["manifest"] == manifest.digest
