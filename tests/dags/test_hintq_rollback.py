import copy
from typing import Any

import pytest
from airflow.sdk.exceptions import ParamValidationError


@pytest.fixture
def dag(dag_bag: Any) -> Any:
    return dag_bag.dags["hintq_rollback"]


def _with(dag: Any, **values: Any) -> dict[str, Any]:
    """The params of a run that was triggered with `values`, as Airflow validates them."""
    params = copy.deepcopy(dag.params)
    for name, value in values.items():
        params[name] = value
    return dict(params.validate())


def test_one_command(dag: Any) -> None:
    [task] = dag.tasks
    context = {"params": {"release": 4, "reason": "clicks fell; $(reboot)"}, "run_id": "manual__1"}
    template = dag.get_template_env()
    command = task.render_template(task.bash_command, context, template)
    assert command == "exec aigq rollback --to 4"
    env = task.render_template(task.env, context, template)
    assert env["AIGQ_WHO"] == "airflow manual__1"
    assert env["AIGQ_WHY"] == "clicks fell; $(reboot)"
    assert dag.schedule is None


def test_a_release_is_needed(dag: Any) -> None:
    assert _with(dag, release=4)["release"] == 4
    for wrong in (None, 0, "4; reboot"):
        with pytest.raises(ParamValidationError):
            _with(dag, release=wrong)
