"""The daily Dag where the setting asks for a person's approval."""

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowSkipException, DownstreamTasksSkipped


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Any:
    from airflow.dag_processing.dagbag import BundleDagBag

    monkeypatch.setenv("AIGQ_APPROVAL__REQUIRED", "true")
    monkeypatch.setenv("AIGQ_APPROVAL__HOURS", "2.5")
    folder = Path(__file__).resolve().parents[2] / "dags"
    file = folder / "hintq_daily.py"
    return BundleDagBag(dag_folder=file, bundle_path=folder, bundle_name="dags").dags["hintq_daily"]


class _Answers:
    """The XCom of one run."""

    map_index = -1

    def __init__(self) -> None:
        self.pushed: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = value

    def xcom_pull(self, task_ids: str, key: str) -> Any:
        return self.pushed.get(key)


def test_nobody_is_asked_by_default(daily: Any) -> None:
    assert not {"comparison", "approve", "decline"} & {task.task_id for task in daily.tasks}


def test_the_question_stands_before_publish(asked: Any) -> None:
    arrows = {task.task_id: task.upstream_task_ids for task in asked.tasks}
    assert arrows["comparison"] == {"servable"}
    assert arrows["approve"] == {"comparison"}
    assert arrows["publish"] == {"servable", "logs", "approve"}
    assert arrows["decline"] == {"publish"}
    rules = {task.task_id: task.trigger_rule.value for task in asked.tasks}
    # Skipped where nobody is asked: the release goes out all the same.
    assert rules["publish"] == "none_failed_min_one_success"
    assert rules["decline"] == "all_skipped"
    # The next day's logs wait until publish is done or skipped, so for the answer.
    assert "publish" in asked.get_task("logs").downstream_task_ids


def test_no_answer_is_a_rejection(asked: Any) -> None:
    approve = asked.get_task("approve")
    assert approve.defaults == ["Reject"]
    assert approve.response_timeout.total_seconds() == 2.5 * 3600
    assert not approve.fail_on_reject
    assert approve.downstream_task_ids == {"publish"}  # what a rejection skips


def test_a_backfill_asks_nobody(asked: Any) -> None:
    hook = asked.get_task("comparison")._pre_execute_hook
    hook({"dag_run": SimpleNamespace(run_type="scheduled")})
    with pytest.raises(AirflowSkipException):
        hook({"dag_run": SimpleNamespace(run_type="backfill")})


@pytest.mark.parametrize(
    ("person", "why", "who", "told"),
    [
        ({"id": "7", "name": "ada"}, "$(reboot)", "ada", "$(reboot)"),
        ({"id": "7", "name": "ada"}, "", "ada", "rejected"),
        (None, "", "airflow scheduled__1", "no answer in time"),
    ],
)
def test_the_ledger_learns_who_rejected_and_why(
    asked: Any, person: dict[str, str] | None, why: str, who: str, told: str
) -> None:
    answers = _Answers()
    event = {
        "chosen_options": ["Reject"],
        "params_input": {"why": why},
        "responded_at": datetime(2017, 11, 8, tzinfo=UTC),
        "responded_by_user": person,
    }
    approve, decline = asked.get_task("approve"), asked.get_task("decline")
    with pytest.raises(DownstreamTasksSkipped):  # as the scheduler expects it of a rejection
        approve.execute_complete({"ti": answers, "task": approve, "run_id": "scheduled__1"}, event)
    context = {"ti": answers, "run_id": "scheduled__1", "params": {"reason": "daily run"}}
    decline._pre_execute_hook(context)
    env = decline.render_template(decline.env, context, asked.get_template_env())
    assert (env["AIGQ_WHO"], env["AIGQ_WHY"]) == (who, told)
    assert told not in decline.bash_command


def test_a_day_outside_the_log_is_no_rejection(asked: Any) -> None:
    decline, context = asked.get_task("decline"), {"ti": _Answers(), "params": {}, "run_id": "1"}
    decline.render_template(decline.env, context, asked.get_template_env())  # comes first
    with pytest.raises(AirflowSkipException):
        decline._pre_execute_hook(context)
