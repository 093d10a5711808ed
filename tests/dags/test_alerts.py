"""What the Dags tell `aigq alert`, which a recorder stands for, after a task really failed."""

import json
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException

RECORDER = """#!/usr/bin/env python3
import json, os, sys
if sys.argv[1] == "alert":
    open(os.environ["ALERTS"], "a").write(json.dumps(sys.argv[2:]) + "\\n")
else:
    print("at work")
    print(os.environ["SAYS"], file=sys.stderr)
sys.exit(1)
"""
FAULT = '{"event": "S3 is down; run `aigq up`", "level": "error"} $(reboot)'


@pytest.fixture
def alerts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the recorder was told; it is the `aigq` that tasks and callbacks find."""
    recorder = tmp_path / "bin" / "aigq"
    recorder.parent.mkdir()
    recorder.write_text(RECORDER)
    recorder.chmod(0o755)
    monkeypatch.setenv("PATH", str(recorder.parent), prepend=":")
    monkeypatch.setenv("ALERTS", str(tmp_path / "alerts"))
    monkeypatch.setenv("SAYS", FAULT)
    return tmp_path / "alerts"


def _told(alerts: Path) -> list[dict[str, str]]:
    lines = [json.loads(line) for line in alerts.read_text().splitlines()]
    return [dict(option.removeprefix("--").split("=", 1) for option in line) for line in lines]


def _context(dag: Any, task: Any) -> dict[str, Any]:
    return {
        "dag": dag,
        "task": task,
        "ti": SimpleNamespace(task_id=task.task_id, log_url="http://airflow/gate"),
        "params": {"day": None, "reason": "test"},
        "data_interval_start": datetime(2017, 11, 7, tzinfo=UTC),
        "run_id": "scheduled__1",
        "exception": "exit code 1",
    }


def test_a_task_that_failed_is_told_with_its_last_line(daily: Any, alerts: Path) -> None:
    task = daily.get_task("gate").prepare_for_execution()
    context = _context(daily, task)
    task.bash_command = "exec aigq gate --day 2017-11-07"
    task.env = {}
    with pytest.raises(AirflowException):
        task.execute(context)
    (tell,) = task.on_failure_callback
    tell(context)  # and the recorder's own failure is nobody's
    (told,) = _told(alerts)
    assert told.pop("remedy").startswith("mend the cause, then clear the task")
    assert told == {
        "dag": "hintq_daily",
        "what": "failed",
        "day": "2017-11-07",
        "task": "gate",
        "error": FAULT,  # no shell saw it
        "url": "http://airflow/gate",
    }


def test_a_task_that_was_killed_is_told_with_airflows_words(daily: Any, alerts: Path) -> None:
    task = daily.get_task("gate")
    (tell,) = task.on_failure_callback
    tell({**_context(daily, task), "params": {"day": "2017-11-08"}})
    (told,) = _told(alerts)
    assert (told["day"], told["error"]) == ("2017-11-08", "exit code 1")


def test_every_task_tells(dag_bag: Any) -> None:
    for dag in dag_bag.dags.values():
        assert all(task.on_failure_callback for task in dag.tasks)


def test_a_late_run_is_told_but_not_of_a_backfill(alerts: Path, dag_bag: Any) -> None:
    from _alerts import on_deadline

    run = {
        "dag_id": "hintq_daily",
        "dag_run_id": "scheduled__1",
        "run_type": "scheduled",
        "data_interval_start": "2017-11-07T00:00:00Z",
        "conf": None,
    }
    context = {"dag_run": run, "deadline": {"deadline_time": "2026-01-01T06:00:00Z"}}
    on_deadline({**context, "dag_run": {**run, "run_type": "backfill"}})
    assert not alerts.exists()
    on_deadline(context)
    (told,) = _told(alerts)
    assert (told["what"], told["day"]) == ("is late", "2017-11-07")
    assert told["error"] == "not done at 2026-01-01T06:00:00Z"
    assert told["url"].endswith("/dags/hintq_daily/runs/scheduled__1")


def test_no_command_is_no_failure(monkeypatch: pytest.MonkeyPatch, daily: Any) -> None:
    monkeypatch.setenv("PATH", "")
    task = daily.get_task("gate")
    (tell,) = task.on_failure_callback
    tell(_context(daily, task))
