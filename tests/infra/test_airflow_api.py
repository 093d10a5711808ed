"""What of the client needs no Airflow; test_stack.py has the rest, with a real one."""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

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


class _Locked(BaseHTTPRequestHandler):
    """An Airflow whose database is locked once: it makes the run and answers 500, as 3.3.2 does
    when its audit log cannot be written. Asked again it knows the run."""

    made: list[str]

    def do_GET(self) -> None:
        self._answer(200, {"access_token": "a"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}")
        if "dag_run_id" not in body:  # who asks for a token
            return self._answer(201, {"access_token": "a"})
        self.made.append(body["dag_run_id"])
        status = 500 if len(self.made) == 1 else 409
        return self._answer(status, {"detail": "Database error"})

    def _answer(self, status: int, told: object) -> None:
        content = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def locked() -> Iterator[tuple[AirflowApi, list[str]]]:
    made: list[str] = []
    handler = type("Handler", (_Locked,), {"made": made})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield AirflowApi(f"http://127.0.0.1:{server.server_address[1]}"), made
        server.shutdown()


def test_a_run_that_has_a_name_is_asked_for_again(locked: tuple[AirflowApi, list[str]]) -> None:
    api, made = locked
    assert api.trigger("hintq_bootstrap", {}, "demo-2017-11-05") == "demo-2017-11-05"
    assert made == ["demo-2017-11-05"] * 2


def test_one_without_a_name_might_be_started_twice(locked: tuple[AirflowApi, list[str]]) -> None:
    api, made = locked
    with pytest.raises(AigqError, match="Airflow refuses POST /dags/hintq_daily/dagRuns: 500"):
        api.trigger("hintq_daily", {})
    assert made == [None]
