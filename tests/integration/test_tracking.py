"""What MLflow holds after tracking, read back from a real MLflow server."""

import json
from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from servers import free_ports, tracking_of

from aigq_tasks.errors import AigqError
from aigq_tasks.settings import Settings
from aigq_tasks.storage.manifests import Manifest
from aigq_tasks.tracking.runs import Tracking

pytestmark = pytest.mark.integration
CTR = Manifest(
    stage="ctr",
    day=date(2017, 11, 6),
    revision=1,
    config={"window_days": 14, "lightgbm": {"leaves": 31}},
    metrics={"auc": 0.75, "hr@30": 0.5, "backbone": "tiny"},
)


@pytest.fixture
def tracking(settings: Settings) -> Tracking:
    return tracking_of(settings)


@pytest.fixture
def client(tracking: Tracking) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking.url)


def runs(client: Any, tracking: Tracking, condition: str) -> list[Any]:
    experiment = client.get_experiment_by_name(tracking.experiment)
    return list(client.search_runs([experiment.experiment_id], condition))


def test_step_counts_days_from_the_first_of_the_log() -> None:
    nowhere = Tracking("http://127.0.0.1:1", "x", "bucket", "a log", date(2017, 1, 1))
    assert nowhere.step(date(2017, 1, 1)) == 0
    # 31 Jan + 28 Feb + 31 + 30 + 31 + 30 + 31 + 31 + 30 + 31 Oct = 304 days before 1 November.
    assert nowhere.step(date(2017, 11, 1)) == 304


def test_a_run_holds_all_that_the_manifest_says(tracking: Tracking, client: Any) -> None:
    assert not tracking.has(CTR)
    tracking.log(CTR, {"reliability.png": b"png"}, seconds=1.5)
    assert tracking.has(CTR)
    assert not tracking.has(replace(CTR, revision=2))
    (run,) = runs(client, tracking, "tags.stage = 'ctr'")
    assert run.info.run_name == "ctr 2017-11-06 r1"
    assert {
        "day": "2017-11-06",
        "stage": "ctr",
        "manifest": CTR.digest,
        "revision": "1",
        "data": "replayed-market (simulated)",
        "backbone": "tiny",
    }.items() <= run.data.tags.items()
    assert run.data.metrics == {"auc": 0.75, "hr_30": 0.5, "seconds": 1.5}  # MLflow bars "@"
    assert run.data.params == {"window_days": "14", "lightgbm.leaves": "31"}
    (point,) = client.get_metric_history(run.info.run_id, "auc")
    assert point.step == 309  # 304 + 5
    artifacts = {a.path for a in client.list_artifacts(run.info.run_id)}
    assert artifacts == {"charts", "manifest.json"}
    assert [a.path for a in client.list_artifacts(run.info.run_id, "charts")] == [
        "charts/reliability.png"
    ]


def test_the_series_run_draws_each_metric_over_the_days(tracking: Tracking, client: Any) -> None:
    tracking.log(CTR, {}, None)
    tracking.log(replace(CTR, day=date(2017, 11, 7), metrics={"auc": 0.5}), {}, None)
    tracking.log(replace(CTR, stage="direct", metrics={"hr": 0.25}), {}, None)
    # A second revision of 6 November with a lower value, logged last, as a backfill would.
    tracking.log(replace(CTR, revision=2, metrics={"auc": 0.625}), {}, None)
    series = tracking.series()
    assert [run.info.run_id for run in runs(client, tracking, "tags.kind = 'series'")] == [series]
    history = sorted(
        (point.step, point.timestamp, point.value)
        for point in client.get_metric_history(series, "ctr/auc")
    )
    # Midnight of 6 November 2017 in UTC is 1,509,926,400 s after the epoch.
    midnight = 1_509_926_400_000
    assert history == [
        (309, midnight + 1, 0.75),
        (309, midnight + 2, 0.625),
        (310, midnight + 86_400_000 + 1, 0.5),
    ]
    assert client.get_run(series).data.metrics == {
        "ctr/auc": 0.5,
        "ctr/hr_30": 0.5,
        "direct/hr": 0.25,
    }


def test_logging_twice_changes_nothing_and_a_torn_run_is_completed(
    tracking: Tracking, client: Any
) -> None:
    tracking.log(CTR, {}, None)
    (run,) = runs(client, tracking, "tags.stage = 'ctr'")
    client.update_run(run.info.run_id, status="RUNNING")  # as a crash before the end leaves it
    assert not tracking.has(CTR)
    tracking.log(CTR, {}, None)
    assert tracking.has(CTR)
    assert len(runs(client, tracking, "tags.stage = 'ctr'")) == 1
    assert len(client.get_metric_history(run.info.run_id, "auc")) == 1
    assert len(client.get_metric_history(tracking.series(), "ctr/auc")) == 1


def test_an_absent_server_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    url = f"http://127.0.0.1:{free_ports(1)[0]}"
    tracking = Tracking(url, "x", "bucket", "a log", date(2017, 1, 1))
    with pytest.raises(AigqError, match=r"MLflow at http://127\.0\.0\.1:[0-9]+ fails"):
        tracking.has(CTR)
    with pytest.raises(AigqError, match="run the same command again to log it"):
        tracking.log(CTR, {}, None)


def test_a_run_names_its_inputs_as_datasets_once(tracking: Tracking, client: Any) -> None:
    gate = replace(CTR, stage="gate", inputs={"ctr": CTR.digest, "logs: history": "5" * 64})
    tracking.log(gate, {}, None)
    (run,) = runs(client, tracking, "tags.stage = 'gate'")
    client.update_run(run.info.run_id, status="RUNNING")
    tracking.log(gate, {}, None)  # makes up for a crash: nothing is named twice
    u2q = replace(gate, stage="u2q", inputs={"ctr": CTR.digest})
    tracking.log(u2q, {}, None)
    (reader,) = runs(client, tracking, "tags.stage = 'u2q'")

    def named(run: Any) -> dict[str, Any]:
        found = client.get_run(run.info.run_id).inputs.dataset_inputs
        assert len({one.dataset.name for one in found}) == len(found)
        return {one.dataset.name: one for one in found}

    datasets = named(run)
    ctr, logs = datasets["ctr"].dataset, datasets["logs: history"].dataset
    assert ctr.digest == CTR.digest[:36]  # MLflow takes no more
    assert (ctr.source_type, json.loads(ctr.source)) == (
        "s3",
        {"uri": f"s3://{tracking.bucket}/objects/{CTR.digest}"},
    )
    assert json.loads(logs.source) == {"uri": f"s3://{tracking.bucket}/manifests/logs"}
    assert [(tag.key, tag.value) for tag in datasets["ctr"].tags] == [
        ("mlflow.data.context", "gate")
    ]
    assert named(reader)["ctr"].dataset.digest == ctr.digest  # both read the same
