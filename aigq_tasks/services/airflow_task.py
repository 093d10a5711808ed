"""What a process does that may itself be a task of Airflow."""

import os

from aigq_tasks.errors import AigqError
from aigq_tasks.messages import say
from aigq_tasks.services.airflow_api import AirflowApi

OWN_TASK = ("AIRFLOW_CTX_DAG_ID", "AIRFLOW_CTX_DAG_RUN_ID", "AIRFLOW_CTX_TASK_ID")


def note_own_task(url: str, text: str) -> None:
    """Write the note of the task that this process runs in; nothing happens outside of Airflow.

    A note is nothing to fail for: what keeps it away is said."""
    own = [os.environ.get(name, "") for name in OWN_TASK]
    if not all(own):
        return
    try:
        AirflowApi(url).note(own[0], own[1], own[2], text)
    except AigqError as error:
        say(f"no note in Airflow: {error}")
