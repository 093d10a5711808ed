"""`aigq up`, `aigq down` and `aigq status`: the real servers of infra/Procfile, without containers.

honcho runs them in a session of its own; when one of them ends, it ends the others.
"""

import fcntl
import hashlib
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from aigq_tasks.errors import AigqError
from aigq_tasks.services.environment import PROCFILE, REPOSITORY, S3_PORTS, service_environment
from aigq_tasks.services.health import PROBES
from aigq_tasks.services.ports import require_free
from aigq_tasks.services.processes import SUPERVISOR, end_all, supervised
from aigq_tasks.services.secrets import ensure_secrets
from aigq_tasks.settings import Settings

START_SECONDS = 180.0
POLL_SECONDS = 0.25


@dataclass(frozen=True)
class Service:
    """One process of the Procfile, the group that `--only` names it by, and its ports."""

    name: str
    group: str
    setting: str | None = None
    ports: int = 1


SERVICES = (
    Service("s3", "s3", "s3.port", len(S3_PORTS)),
    Service("valkey", "valkey", "valkey.port"),
    Service("mlflow", "mlflow", "mlflow.port"),
    Service("airflow-api", "airflow", "airflow.port"),
    Service("airflow-scheduler", "airflow"),
    Service("airflow-dags", "airflow"),
    Service("airflow-triggerer", "airflow"),
    Service("webhook", "webhook", "webhook.port"),
)
GROUPS = tuple(dict.fromkeys(service.group for service in SERVICES))


@dataclass(frozen=True)
class ServiceStatus:
    """A row of `aigq status`; `state` is "healthy", "not healthy" or "down"."""

    name: str
    state: str
    address: str
    pid: int | None
    memory_mb: int | None
    detail: str


def up(settings: Settings, only: set[str] | None = None, console: Console | None = None) -> None:
    """Start the services that do not run yet and return when all of them are healthy.

    `only` names groups ("s3", "valkey", "mlflow", "airflow", "webhook"); None means all of them.
    An S3 that `s3.endpoint` names is not started. AigqError, with everything taken down again: a
    port is taken, a service ends, or one is not healthy within `START_SECONDS`.
    """
    console = console or Console(stderr=True)
    wanted = _chosen(settings, only)
    state_dir = settings.state_dir
    (state_dir / "logs").mkdir(parents=True, exist_ok=True)
    with _one_at_a_time(state_dir):
        running = supervised(state_dir)
        if running and SUPERVISOR not in running:  # what a killed honcho left behind
            end_all(state_dir)
            running = {}
        missing = [service for service in wanted if service.name not in running]
        secrets = ensure_secrets(state_dir)
        environment = service_environment(settings, secrets)
        for service in missing:
            _require_ports(settings, service)
        try:
            if any(service.group == "airflow" for service in missing):
                _migrate_airflow(state_dir, environment)
            honcho = _start_honcho(state_dir, missing, environment) if missing else None
            _wait_until_healthy(settings, secrets, wanted, honcho, console)
        except BaseException:  # also Ctrl-C: half a stack is never left behind
            if missing:
                end_all(state_dir)
            raise


def down(settings: Settings) -> int:
    """End every process of this installation; the number of them (0: nothing ran)."""
    return end_all(settings.state_dir)


def status(settings: Settings) -> list[ServiceStatus]:
    """One row for each service, all asked now and at once."""
    running = supervised(settings.state_dir)
    secrets = ensure_secrets(settings.state_dir) if running else {}
    services = _chosen(settings, None)

    def ask(service: Service) -> str | None:
        return PROBES[service.name](settings, secrets) if service.name in running else ""

    with ThreadPoolExecutor(len(services)) as pool:
        problems = list(pool.map(ask, services))
    rows = []
    for service, problem in zip(services, problems, strict=True):
        processes = running.get(service.name, [])
        state = "down" if not processes else "not healthy" if problem else "healthy"
        rows.append(
            ServiceStatus(
                name=service.name,
                state=state,
                address=_address(settings, service),
                pid=processes[0].pid if processes else None,
                memory_mb=_memory_mb(processes) if processes else None,
                detail=problem or "",
            )
        )
    return rows


def status_table(rows: list[ServiceStatus]) -> Table:
    """The rows of `status` as people read them."""
    table = Table("service", "state", "address", "pid", "MB", "detail", box=None)
    colour = {"healthy": "green", "not healthy": "yellow", "down": "red"}
    for row in rows:
        table.add_row(
            row.name,
            f"[{colour[row.state]}]{row.state}[/]",
            row.address,
            str(row.pid or ""),
            str(row.memory_mb or ""),
            row.detail,
        )
    return table


def _chosen(settings: Settings, only: set[str] | None) -> list[Service]:
    unknown = sorted((only or set()) - set(GROUPS))
    if unknown:
        raise AigqError(f"no service is called {unknown[0]!r}; there are {', '.join(GROUPS)}")
    external = {"s3"} if settings.s3.endpoint else set()
    groups = (set(GROUPS) if only is None else only) - external
    return [service for service in SERVICES if service.group in groups]


def _require_ports(settings: Settings, service: Service) -> None:
    if service.setting:
        section = getattr(settings, service.setting.split(".")[0])
        ports = range(section.port, section.port + service.ports)
        require_free(service.name, section.host, ports, service.setting)


def _address(settings: Settings, service: Service) -> str:
    return getattr(settings, service.setting.split(".")[0]).url if service.setting else ""


def _memory_mb(processes: list[Any]) -> int:
    """Resident memory in MiB; pages that forked processes share count for each of them."""
    total = 0
    for process in processes:
        with suppress(psutil.NoSuchProcess):  # it may end between two looks
            total += process.memory_info().rss
    return total // 2**20


@contextmanager
def _one_at_a_time(state_dir: Path) -> Iterator[None]:
    with (state_dir / "up.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AigqError(f"another `aigq up` is at work in {state_dir}; wait for it") from None
        yield


def _migrate_airflow(state_dir: Path, environment: dict[str, str]) -> None:
    """`airflow db migrate`, once for each version of Airflow and database."""
    database = environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"]
    schema = f"{metadata.version('apache-airflow-core')} {database}"
    stamp = state_dir / "airflow" / "migrated"
    digest = hashlib.sha256(schema.encode()).hexdigest()  # a database URL may hold a password
    if stamp.is_file() and stamp.read_text() == digest:
        return
    stamp.parent.mkdir(parents=True, exist_ok=True)
    log = state_dir / "logs" / "airflow-init.log"
    with log.open("w") as output:
        code = subprocess.run(
            [sys.executable, "-m", "airflow", "db", "migrate"],
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        ).returncode
    if code:
        raise AigqError(f"airflow db migrate failed: {_last_line(log)}; the whole log is {log}")
    stamp.write_text(digest)


@dataclass(frozen=True)
class _Honcho:
    process: "subprocess.Popen[bytes]"
    log: Path


def _start_honcho(state_dir: Path, services: list[Service], environment: dict[str, str]) -> _Honcho:
    log = state_dir / "logs" / f"honcho-{services[0].name}.log"
    options = ["--no-colour", "-e", "/dev/null", "-d", str(REPOSITORY), "-f", str(PROCFILE)]
    with log.open("w") as output:
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "honcho", "start", *options, *(s.name for s in services)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return _Honcho(process, log)


def _wait_until_healthy(
    settings: Settings,
    secrets: dict[str, str],
    services: list[Service],
    honcho: _Honcho | None,
    console: Console,
) -> None:
    columns = (SpinnerColumn(finished_text="[green]✓"), TextColumn("{task.description}"))
    problems = {service.name: "starting" for service in services}
    give_up = time.monotonic() + START_SECONDS
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        rows = {name: progress.add_task(f"{name}: starting", total=1) for name in problems}
        while problems:
            for name in list(problems):
                problem = PROBES[name](settings, secrets)
                if problem is None:
                    del problems[name]
                    progress.update(rows[name], completed=1, description=f"{name}: healthy")
                else:
                    problems[name] = problem
            if honcho:
                _raise_if_one_died(settings.state_dir, honcho)
            if problems and time.monotonic() > give_up:
                name, problem = next(iter(problems.items()))
                raise AigqError(
                    f"{name} is not healthy after {START_SECONDS:.0f} s: {problem}; "
                    f"its log is {settings.state_dir / 'logs' / name}.log"
                )
            if problems:
                time.sleep(POLL_SECONDS)


def _raise_if_one_died(state_dir: Path, honcho: _Honcho) -> None:
    """honcho writes which process ended, and with which code, before it ends the others."""
    died = re.search(r"([\w-]+)\.1 stopped \(rc=(-?\d+)\)", honcho.log.read_text())
    if died:
        log = state_dir / "logs" / f"{died[1]}.log"
        raise AigqError(
            f"{died[1]} ended with code {died[2]} and the other services were taken down: "
            f"{_last_line(log)} (the whole log is {log})"
        )
    if honcho.process.poll() is not None:
        raise AigqError(f"honcho ended: {_last_line(honcho.log)} (its log is {honcho.log})")


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines()]
    return next((line for line in reversed(lines) if line), "it wrote nothing")
