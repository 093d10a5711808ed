"""The daily Dag where the setting asks for a person's approval."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowSkipException


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Any:
    from airflow.dag_processing.dagbag import BundleDagBag

    monkeypatch.setenv("AIGQ_APPROVAL__REQUIRED", "true")
    monkeypatch.setenv("AIGQ_APPROVAL__HOURS", "2.5")
    folder = Path(__file__).resolve().parents[2] / "dags"
    file = folder / "hintq_daily.py"
    return BundleDagBag(dag_folder=file, bundle_path=folder, bundle_name="dags").dags["hintq_daily"]


def _rendered(dag: Any, task_id: str, answer: dict[str, Any] | None) -> dict[str, str]:
    task = dag.get_task(task_id)
    ti = SimpleNamespace(xcom_pull=lambda task_ids: answer if task_ids == "approve" else None)
    context = {"ti": ti, "run_id": "scheduled__1", "params": {"reason": "daily run"}}
    return dict(task.render_template(task.env, context, dag.get_template_env()))


def test_nobody_is_asked_by_default(daily: Any) -> None:
    assert not {"comparison", "approve", "decline"} & {task.task_id for task in daily.tasks}


def test_the_question_stands_before_publish(asked: Any) -> None:
    arrows = {task.task_id: task.upstream_task_ids for task in asked.tasks}
    assert arrows["comparison"] == {"servable"}
    assert arrows["approve"] == {"comparison"}
    assert arrows["publish"] == {"servable", "market", "approve"}
    assert arrows["decline"] == {"publish"}
    rules = {task.task_id: task.trigger_rule.value for task in asked.tasks}
    # Skipped where nobody is asked: the release goes out all the same.
    assert rules["publish"] == "none_failed_min_one_success"
    assert rules["decline"] == "all_skipped"
    # The next day's market waits until publish is done or skipped, so for the answer.
    assert "publish" in asked.get_task("market").downstream_task_ids


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


def test_the_ledger_learns_who_rejected_and_why(asked: Any) -> None:
    by = {"responded_by_user": {"id": "7", "name": "ada"}, "params_input": {"why": "$(reboot)"}}
    env = _rendered(asked, "decline", by)
    assert (env["AIGQ_WHO"], env["AIGQ_WHY"]) == ("ada", "$(reboot)")
    env = _rendered(asked, "decline", by | {"params_input": {"why": ""}})
    assert (env["AIGQ_WHO"], env["AIGQ_WHY"]) == ("ada", "rejected")
    env = _rendered(asked, "decline", {"responded_by_user": None, "params_input": {"why": ""}})
    assert (env["AIGQ_WHO"], env["AIGQ_WHY"]) == ("airflow scheduled__1", "no answer in time")
    assert "why" not in asked.get_task("decline").bash_command


def test_a_day_outside_the_log_is_no_rejection(asked: Any) -> None:
    hook = asked.get_task("decline")._pre_execute_hook
    hook({"ti": SimpleNamespace(xcom_pull=lambda task_ids: {"chosen_options": ["Reject"]})})
    with pytest.raises(AirflowSkipException):
        hook({"ti": SimpleNamespace(xcom_pull=lambda task_ids: None)})
