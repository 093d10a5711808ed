"""The whole stack, once: cold start, a bootstrap, a backfill that breaks and is mended, the end.

The servers, the Dags and the client are real. In place of the `aigq` command stands a recorder,
so that the order of the calls can be read, and one call can be made to fail; what the stages do
is tested where they are.
"""

import io
import os
import sys
from datetime import date
from pathlib import Path

import boto3
import pytest
from rich.console import Console

from aigq_tasks.errors import AigqError
from aigq_tasks.releases.bootstrap import STEPS
from aigq_tasks.services.airflow_api import AirflowApi
from aigq_tasks.services.airflow_task import OWN_TASK, note_own_task
from aigq_tasks.services.processes import supervised
from aigq_tasks.services.secrets import ensure_secrets
from aigq_tasks.services.supervisor import SERVICES, down, status, up
from aigq_tasks.settings import Settings
from aigq_tasks.stages.day import DAY

pytestmark = pytest.mark.integration
COMMANDS = [*(step.name for step in DAY), "publish"]
FIRST, LAST = date(2017, 11, 6), date(2017, 11, 7)
PATHS = (
    ("logs", "ctr", "policy", "evaluate", "gate", "u2q", "servable", "publish"),
    ("logs", "samples", "policy"),
    ("ctr", "rivals", "evaluate"),
    ("logs", "recall", "servable"),
    ("logs", "item-texts", "servable"),
    ("ctr", "x2q", "servable"),
)
RECORDER = """#!/bin/sh
echo "$@" >> "$CALLS"
if [ "$*" = "$(cat "$CALLS.broken" 2>/dev/null)" ]; then
  echo "error: the gate knows no champion; run aigq bootstrap" >&2
  exit 1
fi
case "$*" in *--day\\ 2017*) ;; *) echo "outside the log"; exit 99 ;; esac
"""


class Calls:
    """What the recorder was called with."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.path.touch()

    def take(self) -> list[str]:
        """The calls since the last `take` that are for a day of the log."""
        lines = self.path.read_text().splitlines()
        self.path.write_text("")
        return [line for line in lines if "--day 2017" in line]

    def break_at(self, call: str) -> None:
        self.path.with_name(f"{self.path.name}.broken").write_text(call)


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Calls:
    """The recorder is the `aigq` that Airflow's tasks find."""
    (tmp_path / "bin").mkdir()
    recorder = tmp_path / "bin" / "aigq"
    recorder.write_text(RECORDER)
    recorder.chmod(0o755)
    found = [str(tmp_path / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]
    monkeypatch.setenv("PATH", os.pathsep.join(found))
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    return Calls(tmp_path / "calls")


def _day(calls: list[str], day: str) -> list[str]:
    return [call.split()[0] for call in calls if call.endswith(day)]


def _assert_order(stages: list[str]) -> None:
    """Each stage once, and none before what it needs (the arrows of hintq_daily)."""
    assert sorted(stages) == sorted(COMMANDS)
    for path in PATHS:
        places = [stages.index(stage) for stage in path]
        assert places == sorted(places), path


def test_from_a_cold_start_to_the_end(installation: Settings, calls: Calls) -> None:
    up(installation)
    assert {row.name: row.state for row in status(installation)} == {
        service.name: "healthy" for service in SERVICES
    }
    _check_mlflow_keeps_artifacts_in_s3(installation)

    out = io.StringIO()
    api = AirflowApi(installation.airflow.url, Console(file=out, width=200))
    api.unpause("hintq_bootstrap")
    with pytest.raises(AigqError, match="Airflow refuses POST"):
        api.trigger("hintq_bootstrap", {"day": "2017-11-05; reboot"})
    run_id = api.trigger("hintq_bootstrap", {"day": "2017-11-05", "reason": "test"})
    api.wait_for_run("hintq_bootstrap", run_id)
    made = [call.removeprefix("bootstrap ") for call in calls.take()]
    # The two variants learn side by side: either may come first.
    *alone, direct, think, last = [f"{step} --day 2017-11-05" for step in STEPS]
    assert made in ([*alone, direct, think, last], [*alone, think, direct, last])

    api.unpause("hintq_daily")
    calls.break_at("publish --day 2017-11-06")
    with pytest.raises(AigqError) as caught:
        api.backfill("hintq_daily", FIRST, LAST)
    message = str(caught.value)
    assert message.startswith("publish failed in the run ")
    assert "error: the gate knows no champion; run aigq bootstrap" in message
    seen = calls.take()
    assert seen.count("publish --day 2017-11-06") == 3  # two retries
    # Households of the next day would meet the release that is missing: it waits.
    assert _day(seen, "2017-11-07") == []

    calls.break_at("nothing")
    api.backfill("hintq_daily", FIRST, LAST)  # goes on where it broke
    seen = calls.take()
    assert seen[0] == "publish --day 2017-11-06"
    assert _day(seen, "2017-11-06") == ["publish"]
    _assert_order(_day(seen, "2017-11-07"))

    api.backfill("hintq_daily", FIRST, LAST)  # nothing is left to do
    assert calls.take() == []
    days = api.runs("hintq_daily", FIRST, LAST)
    assert [(run.day, run.state) for run in days] == [(FIRST, "success"), (LAST, "success")]
    assert "2017-11-07  success" in out.getvalue()
    _check_a_verdict_becomes_a_note(installation, days[0].run_id)

    api.backfill("hintq_daily", FIRST, LAST, reprocess="completed")  # all of it again, in order
    seen = calls.take()
    assert seen[: len(COMMANDS)] == [call for call in seen if call.endswith("2017-11-06")]
    _assert_order(_day(seen, "2017-11-06"))
    _assert_order(_day(seen, "2017-11-07"))
    assert len(api.runs("hintq_daily", FIRST, LAST)) == 2  # no run was lost on the way

    assert down(installation) > len(SERVICES)
    assert supervised(installation.state_dir) == {}
    with pytest.raises(AigqError, match=r"Airflow does not answer at .*; run `aigq up`"):
        api.runs("hintq_daily")


def _check_a_verdict_becomes_a_note(installation: Settings, run_id: str) -> None:
    own = dict(zip(OWN_TASK, ("hintq_daily", run_id, "gate"), strict=True))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in own.items():
            patch.setenv(name, value)
        note_own_task(installation.airflow.url, "AIGQ-Direct: accepted " + "x" * 1000)
    api = AirflowApi(installation.airflow.url)
    gate = api._call("GET", f"/dags/hintq_daily/dagRuns/{run_id}/taskInstances/gate")
    assert gate["note"].startswith("AIGQ-Direct: accepted xxx")
    assert gate["state"] == "success"


def _check_mlflow_keeps_artifacts_in_s3(installation: Settings) -> None:
    import mlflow

    client = mlflow.MlflowClient(installation.mlflow.url)
    experiment = client.create_experiment("stack")
    run = client.create_run(experiment)
    client.log_text(run.info.run_id, "an artifact", "note.txt")
    secrets = ensure_secrets(installation.state_dir)
    bucket = boto3.resource(
        "s3",
        endpoint_url=installation.s3.url,
        region_name="us-east-1",
        aws_access_key_id=secrets["AIGQ_S3__ACCESS_KEY"],
        aws_secret_access_key=secrets["AIGQ_S3__SECRET_KEY"],
    ).Bucket(installation.s3.bucket)
    (artifact,) = [found for found in bucket.objects.filter(Prefix="mlflow/")]
    assert artifact.key.endswith(f"{run.info.run_id}/artifacts/note.txt")
    assert artifact.get()["Body"].read() == b"an artifact"
