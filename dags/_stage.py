"""What the Dags share: a task is one stage of the `aigq` command in a fresh process.

`exec` replaces the shell, so a stop of the task reaches the stage itself. Nothing returns through
XCom: stages hand over by manifests in S3, and the same command does the same without Airflow.
"""

from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import Param

NOTHING_TO_DO = 99  # exit code of a stage that has nothing to do for the day: skipped


def stage(name: str, *, command: str, day: str, **options: Any) -> BashOperator:
    """The task `name`, which runs `aigq <command> --day <day>`; `day` is a Jinja expression."""
    return aigq(name, f"{command} --day {{{{ {day} }}}}", **options)


def aigq(name: str, arguments: str, **options: Any) -> BashOperator:
    """The task `name`, which runs `aigq <arguments>`, a Jinja template."""
    return BashOperator(
        task_id=name,
        bash_command=f"exec aigq {arguments}",
        env={"AIGQ_WHO": "airflow {{ run_id }}", "AIGQ_WHY": "{{ params.reason }}"},
        append_env=True,
        skip_on_exit_code=NOTHING_TO_DO,
        do_xcom_push=False,
        retries=2,
        retry_delay=timedelta(seconds=10),
        **options,
    )


def reason(default: str) -> Param:
    """The param that every run has: why it was started."""
    return Param(
        default,
        type="string",
        minLength=1,
        maxLength=200,
        title="Reason",
        description="Why; it stands in the release ledger beside who.",
    )
