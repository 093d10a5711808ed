"""MLflow: one run per manifest, and one run, "daily", that draws each metric over the days.

All but the run time comes from the manifest, so a run that is missing can be logged later,
and logging one twice changes nothing. A run is complete when its status is FINISHED.
"""

import json
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime

from aigq_tasks.errors import AigqError
from aigq_tasks.storage.canonical import leaves
from aigq_tasks.storage.crash import crash_point
from aigq_tasks.storage.manifests import Manifest
from aigq_tasks.storage.objects import blob_key
from aigq_tasks.tracking.registry import register
from aigq_tasks.tracking.rest import Json, call, create, tell, upload

SERIES_RUN = "daily"
DATASET_DIGITS = 36  # of a digest, as many as MLflow takes
AT_ONCE = 100  # numbers or params of one request, as many as MLflow takes
SERVED = "mlflow-artifacts:/"  # how the address of artifacts begins that the server itself takes
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
        with self._stored_anyway():
            experiment = self._experiment_id()
            run = self._first_run(f"tags.manifest = '{manifest.digest}'")
            if run is None:
                name = f"{manifest.stage} {manifest.day} r{manifest.revision}"
                run = self._make_run(experiment, name, self._tags(manifest))
            crash_point("run")
            inputs = {"run_id": run, "datasets": _inputs(manifest, self.bucket)}
            tell(self.url, "runs/log-inputs", inputs)
            self._log_batch(run, self._points(manifest, numbers), _params(manifest))
            crash_point("metrics")
            files = {f"charts/{name}": png for name, png in charts.items()}
            self._log_files(run, {"manifest.json": manifest.to_bytes(), **files})
            crash_point("artifacts")
            if model:
                self._register(run, manifest, model)
            series = self.series() or self._make_series(experiment)
            prefixed = {f"{manifest.stage}/{name}": value for name, value in numbers.items()}
            self._log_batch(series, self._points(manifest, prefixed))
            # Here and not where it is made: whoever made it may have been killed before.
            self._finish(series)
            crash_point("series-metrics")
            self._finish(run)

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

    def _points(self, manifest: Manifest, numbers: Mapping[str, float]) -> list[Json]:
        """One metric of MLflow per number, at the day's step; time is the day's midnight in UTC.

        The revision is added in milliseconds: of two points of one step MLflow takes the later.
        """
        midnight = datetime.combine(manifest.day, datetime.min.time(), tzinfo=UTC)
        milliseconds = int(midnight.timestamp()) * 1000 + manifest.revision
        step = self.step(manifest.day)
        return [
            {"key": _name(name), "value": value, "timestamp": milliseconds, "step": step}
            for name, value in sorted(numbers.items())
        ]

    def _experiment_id(self) -> str:
        create(self.url, "experiments/create", {"name": self.experiment})
        found = self._experiment()
        if found is None:
            raise AigqError(f"MLflow at {self.url} fails: no experiment '{self.experiment}'")
        return found

    def _experiment(self) -> str | None:
        name = {"experiment_name": self.experiment}
        found = call(self.url, "GET", "experiments/get-by-name", params=name)
        return str(found["experiment"]["experiment_id"]) if found else None

    def _make_run(self, experiment: str, name: str, tags: Mapping[str, str]) -> str:
        body = {
            "experiment_id": experiment,
            "run_name": name,
            "start_time": _now(),
            "tags": _pairs(tags),
        }
        return str(tell(self.url, "runs/create", body)["run"]["info"]["run_id"])

    def _make_series(self, experiment: str) -> str:
        mine = self._make_run(experiment, SERIES_RUN, {"kind": "series", "data": self.data})
        crash_point("series")
        oldest = self.series() or mine
        if oldest != mine:  # another stage made one at the same time: the older one stays
            tell(self.url, "runs/delete", {"run_id": mine})
        return oldest

    def _log_batch(self, run: str, metrics: list[Json], params: list[Json] | None = None) -> None:
        for name, rows in (("metrics", metrics), ("params", params or [])):
            for start in range(0, len(rows), AT_ONCE):
                body = {"run_id": run, name: rows[start : start + AT_ONCE]}
                tell(self.url, "runs/log-batch", body)

    def _log_files(self, run: str, files: Mapping[str, bytes]) -> str:
        """Store files of the run by the server. Returns the address of its artifacts."""
        found = call(self.url, "GET", "runs/get", params={"run_id": run})
        address = str(found["run"]["info"]["artifact_uri"]) if found else ""
        if not address.startswith(SERVED):
            raise AigqError(
                f"MLflow at {self.url} does not take artifacts (their address is '{address}'): "
                "start it with --serve-artifacts"
            )
        for name, data in sorted(files.items()):
            upload(self.url, f"{address.removeprefix(SERVED)}/{name}", data)
        return address

    def _register(self, run: str, manifest: Manifest, model: Mapping[str, bytes]) -> None:
        def store() -> str:
            return self._log_files(run, {f"model/{name}": data for name, data in model.items()})

        register(self.url, run, manifest.stage, self._tags(manifest), store)

    def _finish(self, run: str) -> None:
        body = {"run_id": run, "status": "FINISHED", "end_time": _now()}
        tell(self.url, "runs/update", body)

    def _first_run(self, condition: str) -> str | None:
        """Id of the oldest run that meets the condition."""
        experiment = self._experiment()
        if experiment is None:
            return None
        query = {
            "experiment_ids": [experiment],
            "filter": condition,
            "order_by": ["attributes.start_time ASC", "attributes.run_id ASC"],
            "max_results": 1,
        }
        answer = call(self.url, "POST", "runs/search", json=query)
        runs = answer.get("runs") if answer else None
        return str(runs[0]["info"]["run_id"]) if runs else None

    @contextmanager
    def _stored_anyway(self) -> Iterator[None]:
        try:
            yield
        except AigqError as error:
            raise AigqError(
                f"{error}; the result is stored, run the same command again to log it"
            ) from error


def _inputs(manifest: Manifest, bucket: str) -> list[Json]:
    """What the manifest was made of, as MLflow's datasets: of the same name and digest in every
    run that read the same. The source is the blob of the upstream manifest, or, where a digest
    stands for results of several days ("<stage>: <name>"), the folder that holds them."""
    # What MLflow shows beside a dataset: which stage read it.
    context = _pairs({"mlflow.data.context": manifest.stage})
    datasets = []
    for name, digest in sorted(manifest.inputs.items()):
        stage, several, _ = name.partition(": ")
        folder = f"manifests/{stage}" if several else blob_key(digest)
        dataset = {
            "name": name,
            "digest": digest[:DATASET_DIGITS],
            "source_type": "s3",
            "source": json.dumps({"uri": f"s3://{bucket}/{folder}"}),
        }
        datasets.append({"dataset": dataset, "tags": context})
    return datasets


def _params(manifest: Manifest) -> list[Json]:
    named = {_name(name): str(value) for name, value in leaves(manifest.config).items()}
    return _pairs(dict(sorted(named.items())))


def _pairs(words: Mapping[str, str]) -> list[Json]:
    return [{"key": key, "value": value} for key, value in words.items()]


def _name(name: str) -> str:
    return NOT_IN_NAMES.sub("_", name)


def _now() -> int:
    """Milliseconds since the epoch."""
    return int(time.time() * 1000)
