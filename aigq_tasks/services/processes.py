"""Which processes belong to an installation, and how to end them all.

Nothing is recorded: every process that `aigq up` starts inherits the variable `AIGQ_SUPERVISED`
with the state folder's path, and so do its children, also those that moved to a session of their
own or lost their parent. The list is read from the system each time, so it cannot be out of date.
"""

import os
from pathlib import Path

import psutil

from aigq_tasks.errors import AigqError
from aigq_tasks.services.environment import MARK

GRACE_SECONDS = 8.0  # honcho itself kills what has not stopped 5 s after its SIGTERM
SUPERVISOR = "honcho"
HELPER = "honcho-helper"  # one for each service: it only waits, and outlives a killed honcho


def supervised(state_dir: Path) -> dict[str, list[psutil.Process]]:
    """Living processes of this installation by Procfile name, oldest first; honcho itself is
    under `SUPERVISOR`, its helpers under `HELPER`. This process and its ancestors are never
    among them.
    """
    found: dict[str, list[psutil.Process]] = {}
    mark, own_line = str(state_dir.resolve()), _own_line()
    for process in sorted(psutil.process_iter(), key=_age):
        environment = _environment(process)
        if environment.get(MARK) == mark and process.pid not in own_line:
            unnamed = SUPERVISOR if _leads_its_session(process) else HELPER
            name = environment.get("HONCHO_PROCESS_NAME", unnamed).partition(".")[0]
            found.setdefault(name, []).append(process)
    return found


def end_all(state_dir: Path) -> int:
    """End every process of this installation and return how many there were.

    honcho is asked first, as it passes the signal on and waits; what is left after
    `GRACE_SECONDS` (a task of Airflow's, say) is killed. AigqError names a survivor.
    """
    first = _all(state_dir)
    _signal(supervised(state_dir).get(SUPERVISOR, first), "terminate")
    psutil.wait_procs(first, timeout=GRACE_SECONDS)
    _signal(_all(state_dir), "terminate")
    psutil.wait_procs(_all(state_dir), timeout=1.0)
    for _ in range(3):  # a dying parent may have started one more child
        _signal(_all(state_dir), "kill")
        psutil.wait_procs(_all(state_dir), timeout=2.0)
    if survivors := _all(state_dir):
        pids = ", ".join(str(process.pid) for process in survivors)
        raise AigqError(f"these processes do not end, even when killed: {pids}")
    return len(first)


def _all(state_dir: Path) -> list[psutil.Process]:
    """The supervised processes and all below them, also a child that hides its environment."""
    own_line = _own_line()
    found = {p.pid: p for processes in supervised(state_dir).values() for p in processes}
    for process in list(found.values()):
        try:
            found |= {child.pid: child for child in process.children(recursive=True)}
        except psutil.NoSuchProcess:
            continue
    return [process for pid, process in sorted(found.items()) if pid not in own_line]


def _signal(processes: list[psutil.Process], method: str) -> None:
    for process in processes:
        try:
            getattr(process, method)()
        except psutil.NoSuchProcess:
            continue


def _environment(process: psutil.Process) -> dict[str, str]:
    """The environment that the process was started with; empty where it may not be read."""
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return {}
        return dict(process.environ())
    except (psutil.Error, OSError):
        return {}


def _leads_its_session(process: psutil.Process) -> bool:
    try:
        return bool(os.getsid(process.pid) == process.pid)
    except ProcessLookupError:
        return False


def _age(process: psutil.Process) -> tuple[float, int]:
    try:
        return (process.create_time(), process.pid)
    except psutil.NoSuchProcess:
        return (0.0, process.pid)


def _own_line() -> set[int]:
    """This process and its ancestors: a task may ask for the status of its own installation."""
    return {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
