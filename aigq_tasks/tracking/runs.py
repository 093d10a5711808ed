"""MLflow: one run per manifest, and one run, "daily", that draws each metric over the days.

All but the run time comes from the manifest, so a run that is missing can be logged later,
and logging one twice changes nothing. A run is complete when its status is FINISHED.
"""

import json
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from aigq_tasks.errors import AigqError
from aigq_tasks.storage.canonical import leaves
from aigq_tasks.storage.crash import crash_point
from aigq_tasks.storage.manifests import Manifest
from aigq_tasks.storage.objects import blob_key
from aigq_tasks.tracking.registry import register
from aigq_tasks.tracking.rest import call

SERIES_RUN = "daily"
DATASET_DIGITS = 36  # of a digest, as many as MLflow takes
NOT_IN_NAMES = re.compile(
    r"[^\w\-./: ]", re.ASCII
)  # what MLflow forbids in names of metrics and params


class Tracking:
    """One MLflow experiment of one server. Methods raise AigqError when MLflow fails."""

    def __init__(self, url: str, experiment: str, bucket: str, data: str, first_day: date) -> None:
        """bucket: where the manifests are that runs name as their inputs. data: the label of the
        log's source, for the tag "data". first_day: of the log, step 0 of every chart."""
        self.url = url
        self.experiment = experiment
        self.bucket = bucket
        self.data = data
        self.first_day = first_day

    def has(self, manifest: Manifest) -> bool:
        """True when a complete run of this manifest exists."""
        condition = f"tags.manifest = '{manifest.digest}' and attributes.status = 'FINISHED'"
        return self._first_run(condition) is not None

    def series(self) -> str | None:
        """The id of the run that holds each metric over the days; None when there is none."""
        return self._first_run(f"tags.kind = 'series' and attributes.run_name = '{SERIES_RUN}'")

    def log(
        self,
        manifest: Manifest,
        charts: dict[str, bytes],
        seconds: float | None,
        model: dict[str, bytes] | None = None,
    ) -> None:
        """Log the manifest's run, and its numbers to the series run.

        charts: file name -> PNG bytes. seconds: run time of the stage, None when unknown.
        model: the files of a stage in REGISTERED_MODELS, which become a version of that model.
        Completes the run that a crash left behind, if there is one.
        """
        numbers = {k: v for k, v in manifest.metrics.items() if not isinstance(v, str)}
        if seconds is not None:
            numbers["seconds"] = seconds
        with self._mlflow_errors():
            client = self._client()
            experiment = _experiment_id(client, self.experiment)
            run = self._first_run(f"tags.manifest = '{manifest.digest}'")
            if run is None:
                name = f"{manifest.stage} {manifest.day} r{manifest.revision}"
                created = client.create_run(experiment, run_name=name, tags=self._tags(manifest))
                run = created.info.run_id
            crash_point("run")
            client.log_inputs(run, _inputs(manifest, self.bucket))
            client.log_batch(run, metrics=self._points(manifest, numbers), params=_params(manifest))
            crash_point("metrics")
            with tempfile.TemporaryDirectory() as folder:
                _write_artifacts(Path(folder), manifest, charts)
                client.log_artifacts(run, folder)
            crash_point("artifacts")
            if model:
                register(client, run, manifest.stage, model, self._tags(manifest))
            series = self.series() or self._make_series(client, experiment)
            prefixed = {f"{manifest.stage}/{name}": value for name, value in numbers.items()}
            client.log_batch(series, metrics=self._points(manifest, prefixed))
            # Here and not where it is made: whoever made it may have been killed before.
            client.set_terminated(series)
            crash_point("series-metrics")
            client.set_terminated(run)

    def step(self, day: date) -> int:
        """Days since the first of the log: the x axis of every chart."""
        return (day - self.first_day).days

    def _tags(self, manifest: Manifest) -> dict[str, str]:
        words = {name: value for name, value in manifest.metrics.items() if isinstance(value, str)}
        return words | {
            "day": manifest.day.isoformat(),
            "stage": manifest.stage,
            "manifest": manifest.digest,
            "revision": str(manifest.revision),
            "data": self.data,
        }

    def _points(self, manifest: Manifest, numbers: dict[str, float]) -> list[Any]:
        """One MLflow Metric per number, at the day's step; time is the day's midnight in UTC.

        The revision is added in milliseconds: of two points of one step MLflow takes the later.
        """
        from mlflow.entities import Metric

        midnight = datetime.combine(manifest.day, datetime.min.time(), tzinfo=UTC)
        milliseconds = int(midnight.timestamp()) * 1000 + manifest.revision
        return [
            Metric(NOT_IN_NAMES.sub("_", name), value, milliseconds, self.step(manifest.day))
            for name, value in sorted(numbers.items())
        ]

    def _client(self) -> Any:
        # MLflow's default of 7 doubling waits would hide a dead server for four minutes.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
        from mlflow import MlflowClient

        return MlflowClient(self.url)

    def _make_series(self, client: Any, experiment: str) -> str:
        tags = {"kind": "series", "data": self.data}
        mine = str(client.create_run(experiment, run_name=SERIES_RUN, tags=tags).info.run_id)
        crash_point("series")
        oldest = self.series() or mine
        if oldest != mine:  # another stage made one at the same time: the older one stays
            client.delete_run(mine)
        return oldest

    def _first_run(self, condition: str) -> str | None:
        """Id of the oldest run that meets the condition.

        Asks by plain REST: a stage that is up to date need not load the MLflow client (2.7 s).
        """
        name = {"experiment_name": self.experiment}
        found = call(self.url, "GET", "experiments/get-by-name", params=name)
        if found is None:
            return None
        query = {
            "experiment_ids": [found["experiment"]["experiment_id"]],
            "filter": condition,
            "order_by": ["attributes.start_time ASC", "attributes.run_id ASC"],
            "max_results": 1,
        }
        answer = call(self.url, "POST", "runs/search", json=query)
        runs = answer.get("runs") if answer else None
        return str(runs[0]["info"]["run_id"]) if runs else None

    @contextmanager
    def _mlflow_errors(self) -> Iterator[None]:
        from mlflow.exceptions import MlflowException

        try:
            yield
        except MlflowException as error:
            raise AigqError(
                f"MLflow at {self.url} fails: {error.message}; the result is stored, "
                "run the same command again to log it"
            ) from error


def _experiment_id(client: Any, name: str) -> str:
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_experiment_by_name(name)  # another stage was faster
    return str(found.experiment_id)


def _inputs(manifest: Manifest, bucket: str) -> list[Any]:
    """What the manifest was made of, as MLflow's datasets: of the same name and digest in every
    run that read the same. The source is the blob of the upstream manifest, or, where a digest
    stands for results of several days ("<stage>: <name>"), the folder that holds them."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    datasets = []
    for name, digest in sorted(manifest.inputs.items()):
        stage, several, _ = name.partition(": ")
        folder = f"manifests/{stage}" if several else blob_key(digest)
        source = json.dumps({"uri": f"s3://{bucket}/{folder}"})
        datasets.append(Dataset(name, digest[:DATASET_DIGITS], "s3", source))
    # The context that MLflow shows beside a dataset: which stage read it.
    context = [InputTag("mlflow.data.context", manifest.stage)]
    return [DatasetInput(dataset, context) for dataset in datasets]


def _params(manifest: Manifest) -> list[Any]:
    from mlflow.entities import Param

    named = {NOT_IN_NAMES.sub("_", name): own for name, own in leaves(manifest.config).items()}
    return [Param(name, str(value)) for name, value in sorted(named.items())]


def _write_artifacts(folder: Path, manifest: Manifest, charts: dict[str, bytes]) -> None:
    (folder / "manifest.json").write_bytes(manifest.to_bytes())
    for name, png in charts.items():
        (folder / "charts").mkdir(exist_ok=True)
        (folder / "charts" / name).write_bytes(png)
