import copy
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.sdk import CronDataIntervalTimetable, DeadlineReference
from airflow.sdk.exceptions import ParamValidationError

from aigq_tasks.pipeline.reads import Moment
from aigq_tasks.settings import Settings
from aigq_tasks.stages.day import DAY, after, find
from aigq_tasks.storage.ledger import Entry

NAMES = [step.name for step in DAY]


def task_of(stage: str) -> str:
    """The task that runs a stage."""
    return stage.replace("-", "_")


def read_by(stage: str) -> set[str]:
    """The tasks whose result of the same day the stage reads, on a day that renews AIGQ-Think."""
    settings = Settings()
    day = settings.bootstrap_day + timedelta(days=settings.think.update_days)
    eve = day - timedelta(days=1)
    parent = Entry(
        day=eve, revision=1, parent=None, verdict="accepted", code="", config="", who="", why=""
    )
    nothing: Any = None
    moment = Moment(day, settings, parent, settings.source(), nothing, nothing)
    return {task_of(name) for name in after(find(stage), moment)}


def _command(dag: Any, task_id: str, **context: Any) -> str:
    task = dag.get_task(task_id)
    return str(task.render_template(task.bash_command, context, dag.get_template_env()))


def _with(dag: Any, **values: Any) -> dict[str, Any]:
    """The params of a run that was triggered with `values`, as Airflow validates them."""
    params = copy.deepcopy(dag.params)
    for name, value in values.items():
        params[name] = value
    return dict(params.validate())


def test_the_tasks_are_those_of_the_table_of_the_day(daily: Any) -> None:
    assert {task.task_id for task in daily.tasks} == {*map(task_of, NAMES), "publish"}


def test_every_stage_waits_for_what_it_reads(daily: Any) -> None:
    """Along the arrows, however many: the Dag draws the fewest that say so."""
    for stage in NAMES:
        before = daily.get_task(task_of(stage)).get_flat_relative_ids(upstream=True)
        assert read_by(stage) <= before, stage


def test_publish_waits_for_every_stage(daily: Any) -> None:
    """It checks that each is up to date: one that still ran would be found out of date."""
    before = daily.get_task("publish").get_flat_relative_ids(upstream=True)
    assert set(map(task_of, NAMES)) <= before


def test_the_table_is_in_an_order_in_which_the_dag_may_run(daily: Any) -> None:
    """So a person may run the commands one after the other, as `aigq --help` lists them."""
    done: set[str] = set()
    for stage in NAMES:
        assert daily.get_task(task_of(stage)).upstream_task_ids <= done, stage
        done.add(task_of(stage))


def test_no_arrow_that_no_stage_needs(daily: Any) -> None:
    """But for that to `publish`, which is how `logs` waits for the release of the day before."""
    for stage in NAMES:
        assert daily.get_task(task_of(stage)).upstream_task_ids <= read_by(stage), stage
    assert daily.get_task("publish").upstream_task_ids == {"servable", "logs"}


def test_a_day_that_does_not_renew_think_is_evaluated_all_the_same(daily: Any) -> None:
    rules = {task.task_id: task.trigger_rule.value for task in daily.tasks}
    assert rules.pop("evaluate") == "none_failed_min_one_success"
    assert set(rules.values()) == {"all_success"}
    skipped = {task_of(step.name) for step in DAY if step.think}
    last = {one for task in skipped for one in daily.get_task(task).downstream_task_ids} - skipped
    assert last == {"evaluate"}  # nothing else would be skipped with them


def test_two_groups(daily: Any) -> None:
    groups = daily.task_group.get_task_group_dict()
    released = {"u2q", "x2q", "item_texts", "servable", "publish"}
    assert set(groups["release"].children) == released
    assert set(groups["learn"].children) == set(map(task_of, NAMES)) - released


def test_state_flows_from_day_to_day(daily: Any) -> None:
    past = {task.task_id for task in daily.tasks if task.depends_on_past}
    assert past == {"logs", "policy", "publish"}
    logs = daily.get_task("logs")
    # One arrow far: so the publish of the day before must be among those that it looks at.
    assert logs.wait_for_downstream
    assert "publish" in logs.downstream_task_ids


def test_a_run_is_for_the_day_of_its_interval(daily: Any) -> None:
    assert daily.catchup is False
    assert daily.start_date == datetime(2017, 1, 1, tzinfo=UTC)
    for stage in (*NAMES, "publish"):
        command = _command(
            daily,
            task_of(stage),
            params={"day": None},
            data_interval_start=datetime(2017, 11, 6, tzinfo=UTC),
        )
        assert command == f"exec aigq {stage} --day 2017-11-06"


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
