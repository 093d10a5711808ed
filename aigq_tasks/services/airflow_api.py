"""A small client of Airflow's REST API (`/api/v2`): what `aigq demo` and `aigq backfill` ask of it.

The `airflow` command would do the same at several seconds a call; a request takes milliseconds.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from itertools import takewhile
from typing import Any, Literal

import requests
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text
from tenacity import (
    retry,
    retry_if_exception_type,
    stop_after_attempt,
    stop_after_delay,
    wait_exponential,
    wait_fixed,
)

from aigq_tasks.errors import AigqError
from aigq_tasks.services.alerts import sentence

POLL_SECONDS = 1.0
PAGE = 100
NOTE_CHARACTERS = 1000  # Airflow takes no more
FINISHED = ("success", "failed")
Reprocess = Literal["completed", "failed"]
Json = dict[str, Any]


@dataclass(frozen=True)
class DagRun:
    """One run: its id, its day (None for a manual run without one), Airflow's state, and when
    it started and ended (UTC; None while it has not).
    """

    run_id: str
    day: date | None
    state: str
    started: datetime | None
    ended: datetime | None


class _BusyError(Exception):
    """Airflow could not answer now and asks to try again (SQLite was locked, or it restarts)."""


class _NotYetError(Exception):
    """The Dag processor has not read the file yet."""


class AirflowApi:
    """Talks to the Airflow at `url`; every method raises AigqError in one line when it cannot."""

    def __init__(self, url: str, console: Console | None = None) -> None:
        self.url = url.rstrip("/")
        self.console = console or Console(stderr=True)
        self._session = requests.Session()
        self._session.trust_env = False  # the loopback is not behind a proxy

    def unpause(self, dag_id: str) -> None:
        """Let the Dag's runs start; waits until Airflow has read the Dag's file."""
        self._wait_for_dag(dag_id)
        self._call("PATCH", f"/dags/{dag_id}", json={"is_paused": False})

    def trigger(self, dag_id: str, conf: Json, run_id: str | None = None) -> str:
        """Start a manual run with `conf` as its params and return its run id.

        With a `run_id` that is known already nothing is started: it is the same request again.
        """
        body = {"logical_date": None, "conf": conf, "dag_run_id": run_id}
        path = f"/dags/{dag_id}/dagRuns"
        response = self._send("POST", path, repeatable=run_id is not None, json=body)
        if run_id and response.status_code == 409:
            return run_id
        return str(_answer(response, "POST", path)["dag_run_id"])

    def go_on(self, dag_id: str, run_id: str, conf: Json) -> None:
        """Start the run of that id; where it is known already, run its failed tasks again."""
        self.trigger(dag_id, conf, run_id)
        run = self._call("GET", f"/dags/{dag_id}/dagRuns/{run_id}")
        if run["state"] == "failed":
            self._clear_failed(dag_id, run_id)

    def note(self, dag_id: str, run_id: str, task_id: str, text: str) -> None:
        """Write the note of a task: Airflow's page shows it beside the task."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}"
        body = {"note": text[:NOTE_CHARACTERS]}
        self._call("PATCH", path, json=body, params={"update_mask": "note"})

    def wait_for_run(
        self, dag_id: str, run_id: str, on_task: Callable[[str], None] = lambda _: None
    ) -> None:
        """Show the tasks of one run until it is done; AigqError names the task that failed.
        on_task: called with the name of each task once it is done."""
        path, reported = f"/dags/{dag_id}/dagRuns/{run_id}", set()
        with self._progress() as progress:
            bar = progress.add_task(dag_id, total=None)
            while True:
                state = self._call("GET", path)["state"]
                tasks = self._tasks(dag_id, run_id)
                done = [task for task in tasks if task["state"] in ("success", "skipped")]
                for task in done:
                    if task["task_id"] not in reported:
                        reported.add(task["task_id"])
                        on_task(task["task_id"])
                progress.update(
                    bar,
                    total=len(tasks) or None,
                    completed=len(done),
                    description=f"{dag_id}: {_at_work(tasks)}",
                )
                if state in FINISHED:
                    break
                time.sleep(POLL_SECONDS)
        self._raise_if_failed(dag_id, run_id)

    def backfill(
        self,
        dag_id: str,
        first: date,
        last: date,
        reprocess: Reprocess = "failed",
        conf: Json | None = None,
        on_day: Callable[[date], str] = lambda _: "",
    ) -> None:
        """Run the days from `first` to `last`, both included, one after the other, and wait.

        A day that succeeded before is left alone with `reprocess="failed"`, and run again with
        "completed" (its stages then find their results made already). An unfinished backfill of
        the same days is taken up again, from its failed tasks on. AigqError when one of other days
        is unfinished, for Airflow runs one at a time, and when a task fails: it names the first;
        the days after it then wait, in Airflow, until that one succeeds. on_day: what more to say
        of a day that succeeded.
        """
        self._wait_for_dag(dag_id)
        if self._call("GET", f"/dags/{dag_id}")["is_paused"]:
            raise AigqError(f"{dag_id} is paused, so no run of it starts: unpause it at {self.url}")
        body = {
            "dag_id": dag_id,
            **_span(first, last),
            # depends_on_past keeps the days in order. Were only 1 let in at a time, a day
            # that waits for a failed one would hold the place which the repair needs.
            "max_active_runs": (last - first).days + 1,
            "reprocess_behavior": reprocess,
            "dag_run_conf": conf or {},
        }
        while not (self._start(body) or self._resume(dag_id, first, last)):
            time.sleep(POLL_SECONDS)  # the backfill that stands in the way is over
        self._follow(dag_id, first, last, on_day)

    def runs(
        self, dag_id: str, first: date | None = None, last: date | None = None
    ) -> list[DagRun]:
        """The runs whose logical date lies within the days given, by day; all without bounds."""
        bounds = {
            "logical_date_gte": f"{first}T00:00:00Z" if first else None,
            "logical_date_lte": f"{last}T23:59:59Z" if last else None,
            "order_by": "logical_date",
        }
        found = self._pages(f"/dags/{dag_id}/dagRuns", "dag_runs", bounds)
        return [
            DagRun(
                run_id=run["dag_run_id"],
                day=_day(run["logical_date"]),
                state=run["state"],
                started=_time(run["start_date"]),
                ended=_time(run["end_date"]),
            )
            for run in found
        ]

    def _start(self, body: Json) -> bool:
        """Ask Airflow for a backfill; False when it has an active one of the Dag, which may be the
        one that a first attempt made."""
        response = self._send("POST", "/backfills", repeatable=True, json=body)
        if response.status_code == 409:
            return False
        _require_ok(response, "POST", "/backfills")
        return True

    def _resume(self, dag_id: str, first: date, last: date) -> bool:
        """Go on with the active backfill if it is for these days: its failed tasks run again.
        False when it is over, or there is none.
        """
        listed = self._pages("/backfills", "backfills", {"dag_id": dag_id})
        active = next((row for row in listed if row["completed_at"] is None), None)
        if active is None:
            return False
        begin, end = _day(active["from_date"]), _day(active["to_date"])
        runs = self.runs(dag_id, begin, end)
        failed = [run for run in runs if run.state == "failed"]
        asked = (begin, end) == (first, last)
        if runs and all(run.state in FINISHED for run in runs) and not (asked and failed):
            # Airflow itself looks only every 30 s whether one is over. One in which something ran
            # is closed here; another may be about to set its runs going.
            created = datetime.fromisoformat(active["created_at"])
            if any(run.ended and run.ended > created for run in runs):
                self._send("PUT", f"/backfills/{active['id']}/cancel")
            return False
        if not asked:
            raise AigqError(
                f"a backfill of {dag_id} from {begin} to {end} is unfinished; run the same days "
                f"again to go on with it, or cancel it at {self.url}"
            )
        for run in failed:
            self._clear_failed(dag_id, run.run_id)
        return True

    def _clear_failed(self, dag_id: str, run_id: str) -> None:
        path = f"/dags/{dag_id}/dagRuns/{run_id}/clear"
        self._call("POST", path, json={"dry_run": False, "only_failed": True})

    def _follow(self, dag_id: str, first: date, last: date, on_day: Callable[[date], str]) -> None:
        days = (last - first).days + 1
        reported: set[str] = set()
        with self._progress() as progress:
            bar = progress.add_task("backfill", total=days)
            while True:
                runs = self.runs(dag_id, first, last)
                for run in runs:
                    if run.state in FINISHED and run.run_id not in reported:
                        reported.add(run.run_id)
                        self._report(run, _seconds(run, runs), on_day)
                failed = [run for run in runs if run.state == "failed"]
                if failed:
                    self._raise_if_failed(dag_id, failed[0].run_id)
                now = next((run for run in runs if run.state == "running"), None)
                label = f"{now.day}: {_at_work(self._tasks(dag_id, now.run_id))}" if now else "…"
                progress.update(bar, completed=len(reported), description=label)
                if len(reported) >= days:
                    return
                time.sleep(POLL_SECONDS)

    def _report(self, run: DagRun, seconds: float, on_day: Callable[[date], str]) -> None:
        more = on_day(run.day) if run.day and run.state == "success" else ""
        line = f"{run.day}  {run.state}  {seconds:.0f} s  {more}"
        self.console.print(Text(line.rstrip()), soft_wrap=True)

    def _raise_if_failed(self, dag_id: str, run_id: str) -> None:
        if self._call("GET", f"/dags/{dag_id}/dagRuns/{run_id}")["state"] != "failed":
            return
        tasks = self._tasks(dag_id, run_id)
        failed = next((task for task in tasks if task["state"] == "failed"), None)
        if failed is None:
            raise AigqError(f"the run {run_id} of {dag_id} failed; see {self.url}/dags/{dag_id}")
        raise AigqError(
            f"{failed['task_id']} failed in the run {run_id}: {self._last_words(dag_id, failed)} "
            f"(log: {self.url}/dags/{dag_id}/runs/{run_id}/tasks/{failed['task_id']})"
        )

    def _last_words(self, dag_id: str, task: Json) -> str:
        """The last line that the stage itself wrote to its log."""
        path = f"/dags/{dag_id}/dagRuns/{task['dag_run_id']}/taskInstances/{task['task_id']}"
        log = self._call("GET", f"{path}/logs/{task['try_number']}")
        lines = [str(event["event"]) for event in log["content"]]
        own = lines[lines.index("Output:") + 1 :] if "Output:" in lines else []
        own = list(takewhile(lambda line: not line.startswith("Command exited"), own))
        return sentence(own[-1]) if own else "it wrote nothing"

    def _tasks(self, dag_id: str, run_id: str) -> list[Json]:
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances"
        return self._pages(path, "task_instances", {})

    def _progress(self) -> Progress:
        text = TextColumn("{task.description}")
        return Progress(
            text, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=self.console
        )

    def _wait_for_dag(self, dag_id: str) -> None:
        @retry(
            retry=retry_if_exception_type(_NotYetError),
            stop=stop_after_delay(90),
            wait=wait_fixed(1),
            reraise=True,
        )
        def look() -> None:
            if self._send("GET", f"/dags/{dag_id}").status_code == 404:
                raise _NotYetError

        try:
            look()
        except _NotYetError:
            errors = self._call("GET", "/importErrors")["import_errors"]
            why = errors[0]["stack_trace"].strip().splitlines()[-1] if errors else "no such file"
            raise AigqError(f"Airflow does not know the Dag {dag_id}: {why}") from None

    def _pages(self, path: str, key: str, params: Json) -> list[Json]:
        rows: list[Json] = []
        while True:
            page = self._call("GET", path, params={**params, "limit": PAGE, "offset": len(rows)})
            rows += page[key]
            if len(rows) >= page["total_entries"] or not page[key]:
                return rows

    def _call(self, method: str, path: str, **options: Any) -> Json:
        return _answer(self._send(method, path, **options), method, path)

    def _send(self, method: str, path: str, **options: Any) -> requests.Response:
        try:
            return self._attempt(method, path, **options)
        except requests.RequestException as error:
            raise AigqError(
                f"Airflow does not answer at {self.url} ({type(error).__name__}); run `aigq up`"
            ) from None
        except _BusyError as error:
            raise AigqError(f"Airflow is too busy for {method} {path}: {error}") from None

    @retry(
        retry=retry_if_exception_type((_BusyError, requests.ConnectionError)),
        stop=stop_after_attempt(6),
        wait=wait_exponential(0.25, max=4),
        reraise=True,
    )
    def _attempt(
        self, method: str, path: str, *, repeatable: bool = False, **options: Any
    ) -> requests.Response:
        """repeatable: whether a POST may be sent again when nobody knows if it was carried out."""
        if "Authorization" not in self._session.headers:
            token = self._session.get(f"{self.url}/auth/token", timeout=60)
            if token.status_code >= 500:
                raise _BusyError(_reason(token))
            if not token.ok:
                raise AigqError(
                    f"Airflow gives no token ({_reason(token)}); this client expects "
                    "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS=True, which `aigq up` sets"
                )
            self._session.headers["Authorization"] = f"Bearer {token.json()['access_token']}"
        response = self._session.request(method, f"{self.url}/api/v2{path}", timeout=60, **options)
        if response.status_code == 401:
            del self._session.headers["Authorization"]  # it holds for a day; take a new one
            raise _BusyError("the token is no longer good")
        if response.status_code in (500, 502, 503) and (method != "POST" or repeatable):
            raise _BusyError(_reason(response))
        return response


def _require_ok(response: requests.Response, method: str, path: str) -> None:
    if not response.ok:
        raise AigqError(f"Airflow refuses {method} {path}: {_reason(response)}")


def _answer(response: requests.Response, method: str, path: str) -> Json:
    _require_ok(response, method, path)
    answer: Json = response.json() if response.content else {}
    return answer


def _reason(response: requests.Response) -> str:
    try:
        detail = response.json()["detail"]
    except (ValueError, KeyError, TypeError):
        detail = response.text[:200]
    return f"{response.status_code} {detail}"


def _span(first: date, last: date) -> dict[str, str]:
    return {"from_date": f"{first}T00:00:00Z", "to_date": f"{last}T00:00:00Z"}


def _day(logical_date: str | None) -> date | None:
    return date.fromisoformat(logical_date[:10]) if logical_date else None


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _seconds(run: DagRun, runs: list[DagRun]) -> float:
    """How long a finished run was at work: from its start, or from the end of the run of the day
    before if that came later.
    """
    if run.started is None or run.ended is None:
        return 0.0
    earlier = [other.ended for other in runs if other.ended and other.ended < run.ended]
    return (run.ended - max([run.started, *earlier])).total_seconds()


def _at_work(tasks: list[Json]) -> str:
    """The names of the tasks that run or wait for a retry, as a line of progress shows them."""
    busy = [
        task["task_id"] + (" (retries)" if task["state"] == "up_for_retry" else "")
        for task in tasks
        if task["state"] in ("running", "up_for_retry", "queued")
    ]
    return ", ".join(busy) or "…"
