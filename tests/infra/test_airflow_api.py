"""What of the client needs no Airflow; test_stack.py has the rest, with a real one."""

from datetime import UTC, date, datetime

import pytest
import servers

from aigq_tasks.errors import AigqError
from aigq_tasks.services.airflow_api import AirflowApi, DagRun, _at_work, _seconds


def _run(day: int, started: int | None, ended: int | None) -> DagRun:
    """A run of a day in November, with times in seconds after midnight."""

    def moment(second: int | None) -> datetime | None:
        return None if second is None else datetime(2026, 1, 1, 0, 0, second, tzinfo=UTC)

    return DagRun(
        f"backfill__{day}",
        date(2017, 11, day),
        "success" if ended else "running",
        moment(started),
        moment(ended),
    )


def test_a_day_is_at_work_from_the_end_of_the_day_before() -> None:
    # All days start at second 1 or 2 and wait for each other; they end at 11, 15 and 35.
    runs = [_run(6, 1, 11), _run(7, 1, 15), _run(8, 2, 35), _run(9, 2, None)]
    assert [_seconds(run, runs) for run in runs] == [10.0, 4.0, 20.0, 0.0]


def test_a_day_that_started_long_after_the_one_before() -> None:
    runs = [_run(6, 1, 5), _run(7, 30, 40)]
    assert _seconds(runs[1], runs) == 10.0  # not 35


def test_the_tasks_at_work() -> None:
    tasks = [
        {"task_id": "logs", "state": "success"},
        {"task_id": "ctr", "state": "running"},
        {"task_id": "recall", "state": "up_for_retry"},
        {"task_id": "policy", "state": None},
    ]
    assert _at_work(tasks) == "ctr, recall (retries)"
    assert _at_work(tasks[:1]) == "…"


def test_no_airflow() -> None:
    (port,) = servers.free_ports(1)
    with pytest.raises(AigqError) as caught:
        AirflowApi(f"http://127.0.0.1:{port}/").runs("hintq_daily")
    message = str(caught.value)
    assert message == (
        f"Airflow does not answer at http://127.0.0.1:{port} (ConnectionError); run `aigq up`"
    )
