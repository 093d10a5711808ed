"""When a Dag needs somebody: each case becomes one call of `aigq alert`, which knows the channels.

An alert that fails is a line in the log. It never fails a task, nor holds it for long.
"""

import subprocess
from typing import Any

from airflow.sdk import BaseNotifier
from airflow.sdk.configuration import conf

SECONDS = 60  # both channels time out before


def on_failure(context: dict[str, Any]) -> None:
    """A task failed, after its last retry."""
    task, instance = context["task"], context["ti"]
    hook = getattr(task, "subprocess_hook", None)
    _tell(
        dag=context["dag"].dag_id,
        what="failed",
        remedy="mend the cause, then clear the task; the days after it wait until then",
        day=_day(context),
        task=instance.task_id,
        # Airflow's own words are left where the process was killed before it could say anything.
        error=getattr(hook, "last_line", "") or str(context.get("exception") or ""),
        url=instance.log_url,
    )


def on_deadline(context: dict[str, Any]) -> None:
    """A run is not done in time. The days of a backfill wait for each other: they have no time."""
    run = context["dag_run"]
    if run["run_type"] == "backfill":
        return
    base = conf.get("api", "base_url", fallback="").rstrip("/")
    day = (run.get("conf") or {}).get("day") or str(run["data_interval_start"] or "")[:10]
    _tell(
        dag=run["dag_id"],
        what="is late",
        remedy="see which task is at work, waits for approval or waits for a failed day before it",
        day=day,
        error=f"not done at {context['deadline']['deadline_time']}",
        url=f"{base}/dags/{run['dag_id']}/runs/{run['dag_run_id']}",
    )


class AskedFor(BaseNotifier):
    """A release waits for a person."""

    def notify(self, context: Any) -> None:
        _tell(
            dag=context["dag"].dag_id,
            what="waits",
            remedy="approve or reject it under Required Actions; no answer is a rejection",
            day=_day(context),
            task=context["ti"].task_id,
            url=context["ti"].log_url,
        )


def _day(context: dict[str, Any]) -> str:
    interval = context.get("data_interval_start")
    return context["params"].get("day") or (f"{interval:%Y-%m-%d}" if interval else "")


def _tell(**facts: str) -> None:
    options = [f"--{name}={value}" for name, value in facts.items()]
    try:
        # No shell: what a stage said is data. A fixed command, found as the tasks find it.
        subprocess.run(["aigq", "alert", *options], check=False, timeout=SECONDS)  # noqa: S603, S607
    except (OSError, subprocess.SubprocessError) as error:
        print(f"no alert: {error}")
