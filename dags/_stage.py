"""What the Dags share: a task is one stage of the `aigq` command in a fresh process.

`exec` replaces the shell, so a stop of the task reaches the stage itself. Nothing returns through
XCom: stages hand over by manifests in S3, and the same command does the same without Airflow. The
one exception is the text that a person is asked to decide on (`_approval.py`).
"""

import os
from datetime import timedelta
from functools import cached_property
from typing import Any

from _alerts import on_failure
from airflow.providers.standard.hooks.subprocess import SubprocessHook, SubprocessResult
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import Param

NOTHING_TO_DO = 99  # exit code of a stage that has nothing to do for the day: skipped


class _LastLine(SubprocessHook):
    """Keeps what the command said last: of a command that failed, why."""

    last_line = ""

    def run_command(self, *args: Any, **kwargs: Any) -> SubprocessResult:
        result = super().run_command(*args, **kwargs)
        self.last_line = result.output
        return result


class AigqOperator(BashOperator):
    """Runs an `aigq` command, and knows its last line when it has failed."""

    @cached_property
    def subprocess_hook(self) -> _LastLine:
        return _LastLine()


def stage(name: str, *, command: str, day: str, **options: Any) -> BashOperator:
    """The task `name`, which runs `aigq <command> --day <day>`; `day` is a Jinja expression."""
    return aigq(name, f"{command} --day {{{{ {day} }}}}", **options)


def aigq(name: str, arguments: str, *, env: dict[str, str] | None = None, **options: Any) -> Any:
    """The task `name`, which runs `aigq <arguments>`, a Jinja template. env: variables, Jinja
    templates too, that take the place of the usual ones."""
    variables = {
        "AIGQ_WHO": "airflow {{ run_id }}",
        "AIGQ_WHY": "{{ params.reason }}",
        "AIGQ_LOG_FORMAT": "json",
    }
    return AigqOperator(
        task_id=name,
        bash_command=f"exec aigq {arguments}",
        env=variables | (env or {}),
        append_env=True,
        skip_on_exit_code=NOTHING_TO_DO,
        retries=2,
        retry_delay=timedelta(seconds=10),
        on_failure_callback=on_failure,
        **{"do_xcom_push": False, **options},
    )


def setting(name: str, default: str) -> str:
    """A setting that shapes a Dag. Dags import nothing of ours: it comes by its variable, which
    `aigq up` sets from `aigq.toml`."""
    return os.environ.get(name) or default


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
