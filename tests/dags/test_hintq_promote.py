from typing import Any


def test_one_command_at_once_or_every_five_minutes(dag_bag: Any) -> None:
    dag = dag_bag.dags["hintq_promote"]
    [task] = dag.tasks
    assert task.bash_command == "exec aigq promote"
    assert task.skip_on_exit_code == [99]  # nobody asked for anything
    assert dag.schedule == "*/5 * * * *"
    assert dag.catchup is False
    assert dag.max_active_runs == 1  # two at once would build on the same release
    # A delivery that finds the Dag paused would wait for somebody who unpauses it.
    assert dag.is_paused_upon_creation is False


def test_who_and_why_go_along_and_never_through_the_shell(dag_bag: Any) -> None:
    dag = dag_bag.dags["hintq_promote"]
    [task] = dag.tasks
    context = {"params": {"reason": "$(reboot)"}, "run_id": "mlflow__1"}
    env = task.render_template(task.env, context, dag.get_template_env())
    assert env["AIGQ_WHO"] == "airflow mlflow__1"
    assert env["AIGQ_WHY"] == "$(reboot)"
