"""The approval under the real scheduler: asked, answered no, answered yes, and in a backfill.

Airflow is real; in place of the `aigq` command stands a recorder, as in test_stack.py.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import requests
import servers

from aigq_tasks.services.airflow_api import AirflowApi
from aigq_tasks.services.environment import service_environment
from aigq_tasks.services.secrets import ensure_secrets
from aigq_tasks.settings import AlertSettings, ApprovalSettings, Settings

pytestmark = pytest.mark.integration
DAG = "hintq_daily"
SECONDS = 240.0
LATE_AFTER = 5.0 / 3600  # hours: every run that waits for an answer is late
RECORDER = """#!/bin/sh
echo "$AIGQ_WHO|$AIGQ_WHY|$*" >> "$CALLS"
case "$*" in alert*|*--day\\ 2017*) ;; *) exit 99 ;; esac
case "$1" in
comparison) echo '{"event": "### AIGQ-Direct: accepted by the gate"}' ;;
publish) echo '{"event": "", "number": 4, "day": "2017-11-07", "verdict": "accepted",' \\
  '"manifests": {"ctr": "3fa2"}}' ;;
esac
"""


class Airflow:
    """What the test asks of the running Airflow."""

    def __init__(self, url: str, calls: Path) -> None:
        self.api = AirflowApi(url)
        self.calls = calls

    def said(self, part: str) -> list[str]:
        """The recorder's lines that hold `part`: who|why|command."""
        lines = self.calls.read_text().splitlines() if self.calls.exists() else []
        return [line for line in lines if part in line]

    def state(self, run: str, task: str) -> str | None:
        path = f"/dags/{DAG}/dagRuns/{run}/taskInstances/{task}"
        return self.api._call("GET", path)["state"]

    def answer(self, run: str, option: str, why: str) -> dict[str, Any]:
        """Wait for the question of the run, answer it, and return it."""
        until(lambda: self.state(run, "approve") == "awaiting_input")
        path = f"/dags/{DAG}/dagRuns/{run}/taskInstances/approve/-1/hitlDetails"
        question = self.api._call("GET", path)
        body = {"chosen_options": [option], "params_input": {"why": why}}
        self.api._call("PATCH", path, json=body)
        return question

    def states(self, run: str) -> dict[str, str | None]:
        return {task: self.state(run, task) for task in ("approve", "publish", "decline")}


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(1)


@pytest.fixture
def airflow(
    installation: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Airflow]:
    """Airflow alone, with the approval on and a deadline that a waiting run misses."""
    recorder = tmp_path / "bin" / "aigq"
    recorder.parent.mkdir()
    recorder.write_text(RECORDER)
    recorder.chmod(0o755)
    found = [str(recorder.parent), str(Path(sys.executable).parent), os.environ["PATH"]]
    monkeypatch.setenv("PATH", os.pathsep.join(found))
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    sections = {
        "approval": ApprovalSettings(required=True),
        "alerts": AlertSettings(deadline_hours=LATE_AFTER),
    }
    settings = installation.model_copy(update=sections)
    env = service_environment(settings, ensure_secrets(settings.state_dir))
    subprocess.run(["airflow", "db", "migrate"], env=env, check=True, capture_output=True)
    health = f"{settings.airflow.url}/api/v2/monitor/health"

    def healthy() -> bool:
        try:
            return requests.get(health, timeout=5).ok
        except requests.RequestException:
            return False

    with (
        servers.process(["airflow", "api-server"], tmp_path / "api", healthy, env),
        servers.process(["airflow", "scheduler"], tmp_path / "scheduler", lambda: True, env),
        servers.process(["airflow", "dag-processor"], tmp_path / "dags", lambda: True, env),
    ):
        yield Airflow(settings.airflow.url, tmp_path / "calls")


def test_a_person_decides(airflow: Airflow) -> None:
    api = airflow.api
    api.unpause(DAG)

    run = api.trigger(DAG, {"day": "2017-11-06", "reason": "test"})
    question = airflow.answer(run, "Reject", "lists look odd; $(reboot)")
    assert question["subject"] == "May the release of 2017-11-06 go live?"
    assert question["body"] == "### AIGQ-Direct: accepted by the gate"
    assert question["defaults"] == ["Reject"]
    api.wait_for_run(DAG, run)
    assert airflow.states(run) == {"approve": "success", "publish": "skipped", "decline": "success"}
    (line,) = airflow.said("|decline")
    assert line == "Anonymous|lists look odd; $(reboot)|decline --day 2017-11-06"
    assert airflow.said("|publish --day 2017-11-06") == []
    (waits,) = airflow.said("--what=waits")
    assert "--day=2017-11-06" in waits

    run = api.trigger(DAG, {"day": "2017-11-07", "reason": "test"})
    # It waits for an answer for longer than the run before took.
    until(lambda: bool(airflow.said("--what=is late")))
    late = airflow.said("--what=is late")
    assert all("--day=2017-11-07" in line and "--error=not done at " in line for line in late)
    airflow.answer(run, "Approve", "")
    api.wait_for_run(DAG, run)
    assert airflow.states(run) == {"approve": "success", "publish": "success", "decline": "skipped"}
    (event,) = api._call("GET", "/assets/events")["asset_events"]
    assert event["uri"] == "s3://aigq/ledger"
    facts = {"number": 4, "day": "2017-11-07", "verdict": "accepted", "manifests": {"ctr": "3fa2"}}
    assert facts.items() <= event["extra"].items()

    day = date(2017, 11, 8)
    api.backfill(DAG, day, day)
    (found,) = api.runs(DAG, day, day)
    states = {"approve": "skipped", "publish": "success", "decline": "skipped"}
    assert airflow.states(found.run_id) == states
    assert not airflow.said("|comparison --day 2017-11-08")

    # The run of the real yesterday, which the log does not hold, was no rejection either.
    (scheduled,) = [run.run_id for run in api.runs(DAG) if run.run_id.startswith("scheduled")]
    assert set(airflow.states(scheduled).values()) == {"skipped"}
    assert len(airflow.said("|decline")) == 1
    assert airflow.said("--what=failed") == []
