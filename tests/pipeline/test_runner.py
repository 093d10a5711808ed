"""run_stage on real S3 and MLflow: done once, visible as a whole or not at all, tracked once."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from servers import free_ports

from aigq_tasks.errors import AigqError
from aigq_tasks.pipeline.context import Context
from aigq_tasks.pipeline.given import Given
from aigq_tasks.pipeline.preflight import preflight
from aigq_tasks.pipeline.reading import need, stored
from aigq_tasks.pipeline.reads import LanguageModel, Nothing, Release, Result
from aigq_tasks.pipeline.runner import given_for, run_stage
from aigq_tasks.pipeline.stage import Output, Slice, Stage
from aigq_tasks.settings import MlflowSettings, ValkeySettings
from aigq_tasks.storage.ledger import Entry
from aigq_tasks.storage.manifests import Blob, Manifest
from aigq_tasks.storage.objects import ObjectStore
from aigq_tasks.tracking.runs import Tracking

pytestmark = pytest.mark.integration
DAY = date(2017, 11, 6)


def land_numbers(ctx: Context, numbers: bytes) -> Manifest:
    """What an upstream stage named "numbers" leaves behind."""
    output = Blob(ctx.store.put_blob(numbers), len(numbers))
    return ctx.manifests.create(Manifest(stage="numbers", day=DAY, outputs={"n.txt": output}))


class Factor(Slice):
    factor: float


def scale(given: Given, settings: Factor, day: date) -> Output:
    """Numbers times a factor, and their mean."""
    numbers = given.result("numbers").file("n.txt").split()
    scaled = [float(number) * settings.factor for number in numbers]
    return Output(
        files={"scaled.txt": " ".join(map(str, scaled)).encode()},
        metrics={"mean": sum(scaled) / len(scaled), "unit": "queries"},
        tags={"kind": "scale"},
        charts={"bars.png": b"\x89PNG, as good as any for storing"},
    )


def counted(compute: Callable[..., Output]) -> tuple[Callable[..., Output], list[date]]:
    """A computation, and the days that it was called for."""
    calls: list[date] = []

    def called(given: Given, settings: Any, day: date) -> Output:
        calls.append(day)
        return compute(given, settings, day)

    return called, calls


# A small real stage.
SCALE = Stage(
    name="scale",
    needs=("s3", "mlflow"),
    reads=(Result("numbers"),),
    settings=lambda settings: Factor(factor=2.0),
    compute=scale,
)
UNTRACKED = replace(SCALE, needs=("s3",))


def runs_of(ctx: Context, manifest: Manifest) -> list[Any]:
    from mlflow import MlflowClient

    client = MlflowClient(ctx.settings.mlflow.url)
    experiment = client.get_experiment_by_name(ctx.settings.mlflow.experiment)
    if experiment is None:
        return []
    return list(
        client.search_runs([experiment.experiment_id], f"tags.manifest = '{manifest.digest}'")
    )


def tracking_of(ctx: Context) -> Tracking:
    settings, source = ctx.settings, ctx.source
    first = source.days()[0]
    bucket = settings.s3.bucket
    return Tracking(settings.mlflow.url, settings.mlflow.experiment, bucket, source.label, first)


def test_a_run_computes_once_and_then_is_up_to_date(
    ctx: Context, capsys: pytest.CaptureFixture[str]
) -> None:
    upstream = land_numbers(ctx, b"1 2 6")
    compute, calls = counted(scale)
    stage = replace(SCALE, compute=compute)
    first = run_stage(stage, ctx, DAY)
    # 1 2 6 times 2 is 2 4 12, mean 18 / 3 = 6.
    assert stored(ctx, need(ctx, "scale", DAY)).file("scaled.txt") == b"2.0 4.0 12.0"
    assert first.metrics == {"mean": 6.0, "unit": "queries", "kind": "scale"}
    assert first.inputs == {"numbers": upstream.digest}
    assert (first.revision, first.outputs["scaled.txt"].size) == (1, 12)
    assert set(first.outputs) == {"scaled.txt", "charts/bars.png"}
    capsys.readouterr()

    assert run_stage(stage, ctx, DAY) == first
    label = f"scale 2017-11-06: up to date (r1, {first.digest[:6]})\n"
    assert capsys.readouterr().out == label
    assert calls == [DAY]
    (run,) = runs_of(ctx, first)
    assert run.info.status == "FINISHED"


def test_a_change_of_settings_or_of_an_input_makes_a_new_revision(ctx: Context) -> None:
    compute, calls = counted(scale)
    stage = replace(UNTRACKED, compute=compute)
    land_numbers(ctx, b"1")
    assert run_stage(stage, ctx, DAY).revision == 1
    thrice = replace(stage, settings=lambda settings: Factor(factor=3.0))
    second = run_stage(thrice, ctx, DAY)
    assert (second.revision, second.metrics["mean"]) == (2, 3.0)
    land_numbers(ctx, b"5")
    third = run_stage(thrice, ctx, DAY)
    assert (third.revision, third.metrics["mean"]) == (3, 15.0)
    assert len(calls) == 3


def test_what_is_not_declared_cannot_be_read(ctx: Context) -> None:
    def nosy(given: Given, settings: Factor, day: date) -> Output:
        return Output(files={"n": given.result("others").file("n.txt")})

    land_numbers(ctx, b"1")
    with pytest.raises(KeyError, match="others"):
        run_stage(replace(UNTRACKED, compute=nosy), ctx, DAY)


def test_of_what_is_declared_alone_one_may_ask_whether_it_is_there(ctx: Context) -> None:
    gate = Result("gate", when=lambda moment: False)
    given = given_for(ctx, DAY, (gate, Release("x2q", optional=True), Nothing("policy")))
    assert not given.has("gate")
    assert not given.has("policy")
    assert not given.released("x2q")
    with pytest.raises(KeyError, match="there is nothing under 'gate' on such a day"):
        given.result("gate")
    asked: list[Callable[[], object]] = [
        lambda: given.has("ctr"),
        lambda: given.released("ctr"),
        lambda: given.logs("today"),
        given.source,
        given.truths,
        given.teacher,
        given.release_id,
    ]
    for ask in asked:
        with pytest.raises(KeyError):
            ask()


def test_a_computation_has_no_store(ctx: Context) -> None:
    """It reads bytes by their digest: no list, no write, no delete."""
    land_numbers(ctx, b"1")
    given = given_for(ctx, DAY, SCALE.reads)
    for handed in (given, given.result("numbers")):
        assert not any(isinstance(own, ObjectStore) for own in vars(handed).values())
    assert {name for name in vars(given) if not name.startswith("_")} == {"scratch", "passed"}
    assert set(vars(given.result("numbers"))) == {"manifest", "_blob"}


def test_a_language_model_is_there_where_one_is_set(ctx: Context) -> None:
    assert given_for(ctx, DAY, (LanguageModel(),)).teacher() is None
    teacher = ctx.settings.teacher.model_copy(update={"url": "http://127.0.0.1:1/v1"})
    asking = ctx.changed(lambda settings: settings.model_copy(update={"teacher": teacher}))
    endpoint = given_for(asking, DAY, (LanguageModel(),)).teacher()
    assert endpoint is not None
    assert endpoint.config == teacher


def test_two_reads_under_one_key_are_refused_on_a_day_that_has_both(ctx: Context) -> None:
    land_numbers(ctx, b"1")
    never = Result("others", when=lambda moment: False, key="numbers")
    for reads in ((SCALE.reads[0], never), (never, SCALE.reads[0])):
        assert given_for(ctx, DAY, reads).result("numbers").file("n.txt") == b"1"
    with pytest.raises(ValueError, match="two reads stand under 'numbers' on 2017-11-06"):
        given_for(ctx, DAY, (*SCALE.reads, Result("numbers")))


def test_a_result_that_is_not_final_is_made_again(ctx: Context) -> None:
    land_numbers(ctx, b"1")
    compute, calls = counted(scale)
    stage = replace(UNTRACKED, compute=compute, final=lambda held: False)
    first = run_stage(stage, ctx, DAY)
    assert run_stage(stage, ctx, DAY) == first  # the same again is no new revision
    assert len(calls) == 2


def test_scratch_is_of_these_inputs_and_gone_once_the_result_is_stored(
    ctx: Context, tmp_path: Path
) -> None:
    settings = ctx.settings.model_copy(update={"state_dir": tmp_path})
    ctx = replace(ctx, settings=settings)
    folders: list[Path] = []

    def leaves(given: Given, settings: Factor, day: date) -> Output:
        folders.append(given.scratch)
        given.scratch.mkdir(parents=True, exist_ok=True)
        found = (given.scratch / "half").exists()
        (given.scratch / "half").touch()
        if not found:
            raise AigqError("killed")
        return scale(given, settings, day)

    stage = replace(UNTRACKED, compute=leaves)
    land_numbers(ctx, b"1")
    with pytest.raises(AigqError, match="killed"):
        run_stage(stage, ctx, DAY)
    assert folders[0].exists()
    land_numbers(ctx, b"2")
    with pytest.raises(AigqError, match="killed"):  # what another input left is not found
        run_stage(stage, ctx, DAY)
    assert folders[0] != folders[1]
    run_stage(stage, ctx, DAY)
    assert folders[1] == folders[2]
    assert not folders[2].exists()


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
            results.append(run_stage(UNTRACKED, context, DAY).to_bytes())
        assert results[0] == results[1]
    finally:
        delete_bucket(s3_server, s3.bucket)


def test_a_failure_leaves_nothing_visible(ctx: Context) -> None:
    def broken(given: Given, settings: Factor, day: date) -> Output:
        return replace(scale(given, settings, day), metrics={"auc": float("nan")})

    land_numbers(ctx, b"1")
    with pytest.raises(AigqError, match="metric 'auc' is nan"):
        run_stage(replace(SCALE, compute=broken), ctx, DAY)
    assert ctx.manifests.head("scale", DAY) is None
    with pytest.raises(AigqError, match="scale of 2017-11-06 is missing: run 'aigq scale"):
        need(ctx, "scale", DAY)
    assert tracking_of(ctx).series() is None


def test_an_input_that_changes_while_the_stage_runs_is_not_mixed_in(ctx: Context) -> None:
    def overtaken(given: Given, settings: Factor, day: date) -> Output:
        land_numbers(ctx, b"7")
        return scale(given, settings, day)

    upstream = land_numbers(ctx, b"1")
    made = run_stage(replace(UNTRACKED, compute=overtaken), ctx, DAY)
    assert made.inputs == {"numbers": upstream.digest}
    assert made.metrics["mean"] == 2.0  # of what it was given
    assert run_stage(UNTRACKED, ctx, DAY).metrics["mean"] == 14.0  # it was out of date


def test_a_crash_before_tracking_is_made_up_by_the_next_run(
    ctx: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute, calls = counted(scale)
    stage = replace(SCALE, compute=compute)
    land_numbers(ctx, b"1 2 6")

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Tracking, "log", crash)
        with pytest.raises(KeyboardInterrupt):
            run_stage(stage, ctx, DAY)
    made = ctx.manifests.head("scale", DAY)
    assert made is not None
    assert runs_of(ctx, made) == []

    assert run_stage(stage, ctx, DAY) == made
    assert len(calls) == 1
    (run,) = runs_of(ctx, made)
    assert run.data.metrics == {"mean": 6.0}  # no run time: nobody measured this one


def test_a_missing_upstream_names_the_command(ctx: Context) -> None:
    with pytest.raises(AigqError, match="run 'aigq numbers --day 2017-11-06'"):
        run_stage(SCALE, ctx, DAY)


def test_a_file_that_the_stage_did_not_write_is_named(ctx: Context) -> None:
    land_numbers(ctx, b"1")
    with pytest.raises(AigqError, match=r"has no output 'm\.txt', only n\.txt"):
        stored(ctx, need(ctx, "numbers", DAY)).file("m.txt")


def test_every_absent_service_is_one_line(ctx: Context) -> None:
    preflight(("s3", "mlflow", "valkey"), ctx)  # all three are there
    one, two = free_ports(2)
    absent = replace(
        ctx,
        settings=ctx.settings.model_copy(
            update={"mlflow": MlflowSettings(port=one), "valkey": ValkeySettings(port=two)}
        ),
    )
    compute, calls = counted(scale)
    stage = replace(SCALE, needs=("s3", "mlflow", "valkey"), compute=compute)
    with pytest.raises(AigqError) as caught:
        run_stage(stage, absent, DAY)
    assert str(caught.value).splitlines() == [
        f"MLflow does not answer at http://127.0.0.1:{one}: start the services with 'make up'",
        f"Valkey does not answer at redis://127.0.0.1:{two}/0: start the services with 'make up'",
    ]
    assert not calls


def test_a_stage_says_its_day_and_release_to_machines(
    ctx: Context, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    land_numbers(ctx, b"1")
    words: dict[str, Any] = {"verdict": "bootstrap", "code": "", "config": "", "who": "", "why": ""}
    ctx.ledger.append(Entry(day=DAY - timedelta(days=1), revision=1, parent=None, **words))
    monkeypatch.setenv("AIGQ_LOG_FORMAT", "json")
    capsys.readouterr()
    manifest = run_stage(UNTRACKED, ctx, DAY)
    (line,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert line["event"].startswith("scale 2017-11-06: done in ")
    assert (line["stage"], line["day"], line["release"]) == ("scale", "2017-11-06", 1)
    assert line["manifest"] == manifest.digest


def test_who_looks_is_given_what_a_stage_would_be(ctx: Context) -> None:
    land_numbers(ctx, b"1 2")
    given = given_for(ctx, DAY, SCALE.reads)
    assert given.result("numbers").file("n.txt") == b"1 2"


def test_a_state_of_another_version_is_refused_in_one_line(ctx: Context) -> None:
    made = ctx.manifests.create(Manifest(stage="market", day=DAY, version="0.1.0"))
    words: dict[str, Any] = {"verdict": "bootstrap", "code": "", "config": "", "who": "", "why": ""}
    manifests = {"market": made.digest}
    ctx.ledger.append(Entry(day=DAY, revision=1, parent=None, manifests=manifests, **words))
    with pytest.raises(AigqError, match=r"made by aigq 0\.1\.0.*'make clean'") as caught:
        run_stage(UNTRACKED, ctx, DAY)
    assert len(str(caught.value).splitlines()) == 1
