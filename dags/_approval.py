"""A person's say before `publish`: `comparison` → `approve` → `publish`, else `decline`.

Asked only where there is something to decide: not in backfills, and not when the gate rejected
what was trained, for then no policy would change.
"""

import json
from datetime import timedelta
from typing import Any

from _alerts import AskedFor, on_failure
from _stage import aigq, setting, stage
from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import Param
from airflow.sdk.exceptions import AirflowSkipException

YES = ("1", "true", "t", "yes", "y", "on")  # what the settings take for it
ANSWER = "answer"  # XCom key
PULL = f"(ti.xcom_pull(task_ids='approve', key='{ANSWER}') or {{}})"  # {} where nobody was asked


class Approval(ApprovalOperator):
    """Keeps who answered and why; Airflow's own operator drops a rejection's answer."""

    def execute_complete(self, context: Any, event: dict[str, Any]) -> Any:
        person = event.get("responded_by_user")
        why = (event.get("params_input") or {}).get("why")
        answer = {
            "who": person["name"] if person else f"airflow {context['run_id']}",
            "why": why or ("rejected" if person else "no answer in time"),
        }
        context["ti"].xcom_push(ANSWER, answer)
        return super().execute_complete(context, event)


def required() -> bool:
    """Whether the setting `approval.required` is on."""
    return setting("AIGQ_APPROVAL__REQUIRED", "false").lower() in YES


def ask(day: str, before: Any, publish: Any) -> None:
    """Put the question between the task `before` and the task `publish`. day: a Jinja expression.

    A rejection skips `publish`. That counts as done for the next day, which waits while the
    question is open.
    """
    comparison = stage(
        "comparison",
        command="comparison",
        day=day,
        pre_execute=skip_in_backfills,
        output_processor=text_of,
        do_xcom_push=True,
    )
    approve = Approval(
        task_id="approve",
        subject=f"May the release of {{{{ {day} }}}} go live?",
        body="{{ ti.xcom_pull(task_ids='comparison') }}",
        defaults=Approval.REJECT,
        response_timeout=timedelta(hours=float(setting("AIGQ_APPROVAL__HOURS", "12"))),
        params={
            "why": Param(
                "",
                type="string",
                maxLength=200,
                title="Why",
                description="Of a rejection; it stands in the release ledger beside who.",
            )
        },
        notifiers=AskedFor(),
        on_failure_callback=on_failure,
    )
    decline = aigq(
        "decline",
        f"decline --day {{{{ {day} }}}}",
        env={
            "AIGQ_WHO": f"{{{{ {PULL}.get('who') }}}}",
            "AIGQ_WHY": f"{{{{ {PULL}.get('why') }}}}",
        },
        pre_execute=skip_unless_answered,
        trigger_rule="all_skipped",
    )
    before >> comparison >> approve >> publish >> decline


def skip_in_backfills(context: dict[str, Any]) -> None:
    """A backfill asks nobody: its days would wait for a person one after the other."""
    if context["dag_run"].run_type == "backfill":
        raise AirflowSkipException("a backfill asks nobody")


def skip_unless_answered(context: dict[str, Any]) -> None:
    """`publish` is skipped too on a day outside the log; that is no rejection."""
    if context["ti"].xcom_pull(task_ids="approve", key=ANSWER) is None:
        raise AirflowSkipException("nobody was asked")


def text_of(line: str) -> str:
    """The sentence in a JSON line of the log."""
    return str(json.loads(line)["event"])
