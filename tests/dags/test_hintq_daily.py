import copy
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.sdk import CronDataIntervalTimetable, DeadlineReference
from airflow.sdk.exceptions import ParamValidationError

ARROWS = {
    "market": set(),
    "ctr": {"market"},
    "recall": {"market"},
    "samples": {"market"},
    "policy": {"ctr", "samples"},
    "think_samples": {"market"},
    "think_policy": {"ctr", "think_samples"},
    "rivals": {"ctr"},
    "evaluate": {"policy", "think_policy", "rivals"},
    "gate": {"evaluate"},
    "u2q": {"gate"},
    "x2q": {"ctr"},
    "item_texts": {"market"},
    "servable": {"u2q", "x2q", "item_texts", "recall"},
    "publish": {"servable", "market"},
}


def _command(dag: Any, task_id: str, **context: Any) -> str:
    task = dag.get_task(task_id)
    return str(task.render_template(task.bash_command, context, dag.get_template_env()))


def _with(dag: Any, **values: Any) -> dict[str, Any]:
    """The params of a run that was triggered with `values`, as Airflow validates them."""
    params = copy.deepcopy(dag.params)
    for name, value in values.items():
        params[name] = value
    return dict(params.validate())


def test_the_arrows(daily: Any) -> None:
    assert {task.task_id: task.upstream_task_ids for task in daily.tasks} == ARROWS
    rules = {task.task_id: task.trigger_rule.value for task in daily.tasks}
    # A day that does not renew AIGQ-Think skips it and is evaluated all the same.
    assert rules.pop("evaluate") == "none_failed_min_one_success"
    assert set(rules.values()) == {"all_success"}


def test_the_plan_knows_the_arrows() -> None:
    from aigq_tasks.stages.plan import READS

    stages = {stage.replace("-", "_"): before for stage, before in READS.items()}
    known = {task: {one.replace("-", "_") for one in before} for task, before in stages.items()}
    assert known == {task: before for task, before in ARROWS.items() if task != "publish"}


def test_two_groups(daily: Any) -> None:
    groups = daily.task_group.get_task_group_dict()
    released = {"u2q", "x2q", "item_texts", "servable", "publish"}
    assert set(groups["release"].children) == released
    assert set(groups["learn"].children) == ARROWS.keys() - released


def test_state_flows_from_day_to_day(daily: Any) -> None:
    past = {task.task_id for task in daily.tasks if task.depends_on_past}
    assert past == {"market", "policy", "publish"}
    market = daily.get_task("market")
    # One arrow far: so the publish of the day before must be among those that it looks at.
    assert market.wait_for_downstream
    assert "publish" in market.downstream_task_ids


def test_a_run_is_for_the_day_of_its_interval(daily: Any) -> None:
    assert daily.catchup is False
    assert daily.start_date == datetime(2017, 1, 1, tzinfo=UTC)
    for task_id in ARROWS:
        command = _command(
            daily,
            task_id,
            params={"day": None},
            data_interval_start=datetime(2017, 11, 6, tzinfo=UTC),
        )
        assert command == f"exec aigq {task_id.replace('_', '-')} --day 2017-11-06"


def test_the_param_names_another_day(daily: Any) -> None:
    params = {"day": "2017-11-07"}
    assert _command(daily, "gate", params=params) == "exec aigq gate --day 2017-11-07"


def test_an_interval_is_one_day_of_utc(daily: Any) -> None:
    assert daily.schedule == CronDataIntervalTimetable("0 0 * * *", timezone="UTC")


@pytest.mark.parametrize("day", [None, "2017-11-07"])
def test_a_day_or_none(daily: Any, day: str | None) -> None:
    assert _with(daily, day=day)["day"] == day


@pytest.mark.parametrize("day", ["2017-11-31", "yesterday", "2017-11-06; reboot", ""])
def test_a_day_that_is_none_is_refused(daily: Any, day: str) -> None:
    with pytest.raises(ParamValidationError):
        _with(daily, day=day)


def test_a_reason_is_needed(daily: Any) -> None:
    with pytest.raises(ParamValidationError):
        _with(daily, reason="")


def test_who_and_why_go_along_and_never_through_the_shell(daily: Any) -> None:
    task = daily.get_task("publish")
    context = {"params": {"reason": "$(reboot)"}, "run_id": "manual__1"}
    env = task.render_template(task.env, context, daily.get_template_env())
    assert env == {
        "AIGQ_WHO": "airflow manual__1",
        "AIGQ_WHY": "$(reboot)",
        "AIGQ_LOG_FORMAT": "json",
    }
    assert task.append_env
    assert "reason" not in task.bash_command


def test_publish_tells_others(daily: Any) -> None:
    outlets = {task.task_id: [asset.uri for asset in task.outlets] for task in daily.tasks}
    assert outlets.pop("publish") == ["s3://aigq/ledger"]
    assert not any(outlets.values())


def test_the_event_of_a_release_tells_what_it_is(daily: Any) -> None:
    publish = daily.get_task("publish")
    facts = {"number": 4, "day": "2017-11-07", "verdict": "accepted", "manifests": {"ctr": "3fa2"}}
    (metadata,) = publish._post_execute_hook({}, json.dumps({"event": "live", **facts}))
    assert metadata.asset == publish.outlets[0]
    assert metadata.extra == facts
    for nothing in ("", "done", "[]", "{}", "7"):
        assert list(publish._post_execute_hook({}, nothing)) == []  # a release never fails for it


def test_a_run_has_a_deadline(daily: Any, bootstrap: Any) -> None:
    (deadline,) = daily.deadline
    assert deadline.reference == DeadlineReference.AVERAGE_RUNTIME(max_runs=10, min_runs=1)
    assert deadline.interval == timedelta(hours=6)
    assert deadline.callback.path == "_alerts.on_deadline"  # importable where the Dags are
    assert not bootstrap.deadline


def test_every_task_retries_and_returns_nothing(daily: Any, bootstrap: Any) -> None:
    for task in [*daily.tasks, *bootstrap.tasks]:
        assert task.retries == 2
        assert task.retry_delay.total_seconds() <= 30
        assert not task.do_xcom_push
        assert task.skip_on_exit_code == [99]
