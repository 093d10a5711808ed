import copy
from itertools import pairwise
from typing import Any

import pytest
from airflow.sdk.exceptions import ParamValidationError

STEPS = ["history", "items", "launch", "stack", "sessions", "direct", "think", "release"]


def _with(dag: Any, **values: Any) -> dict[str, Any]:
    """The params of a run that was triggered with `values`, as Airflow validates them."""
    params = copy.deepcopy(dag.params)
    for name, value in values.items():
        params[name] = value
    return dict(params.validate())


def test_steps_in_order(bootstrap: Any) -> None:
    for first, second in pairwise(STEPS[:6]):
        assert bootstrap.get_task(second).upstream_task_ids == {first}
    # The two variants learn side by side.
    assert bootstrap.get_task("think").upstream_task_ids == {"sessions"}
    assert bootstrap.get_task("release").upstream_task_ids == {"direct", "think"}
    assert {task.task_id for task in bootstrap.tasks} == set(STEPS)


def test_only_on_request_and_once_at_a_time(bootstrap: Any) -> None:
    assert bootstrap.schedule is None
    assert bootstrap.max_active_runs == 1


def test_the_day_is_the_params(bootstrap: Any) -> None:
    template = bootstrap.get_template_env()
    for step in STEPS:
        task = bootstrap.get_task(step)
        command = task.render_template(
            task.bash_command, {"params": {"day": "2017-10-01"}}, template
        )
        assert command == f"exec aigq bootstrap {step} --day 2017-10-01"


@pytest.mark.parametrize("day", [None, "2017-13-01", "2017-11-05 && reboot"])
def test_a_day_that_is_none_is_refused(bootstrap: Any, day: str | None) -> None:
    with pytest.raises(ParamValidationError):
        _with(bootstrap, day=day)
