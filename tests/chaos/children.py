"""Work in a process of its own that may be killed.

A fork server imports heavy libraries once, computes nothing and starts no threads; its
children start in milliseconds, and a SIGKILL ends the child alone.
"""

import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aigq_tasks.errors import AigqError
from aigq_tasks.storage.crash import VARIABLE

KILLED = -signal.SIGKILL
SECONDS = 600.0
_FORK = multiprocessing.get_context("forkserver")


def warm(*modules: str) -> None:
    """What the fork server imports; to be said before the first child."""
    _FORK.set_forkserver_preload([*modules])


def run(log: Path, work: Callable[..., Any], *args: Any, crash_at: str = "") -> int:
    """Run `work(*args)` in a child, armed for a crash point; what it prints goes to `log`.

    The exit code: 0, 1 after an AigqError, `KILLED` at a crash point.
    """
    process = _FORK.Process(target=_child, args=(log, crash_at, work, args))
    process.start()
    process.join(SECONDS)
    if process.exitcode is None:
        process.kill()
        raise RuntimeError(f"a child did not end within {SECONDS:.0f} s")
    return process.exitcode


def _child(log: Path, crash_at: str, work: Callable[..., Any], args: tuple[Any, ...]) -> None:
    with log.open("wb") as sink:
        os.dup2(sink.fileno(), 1)
        os.dup2(sink.fileno(), 2)
    os.environ[VARIABLE] = crash_at
    try:
        work(*args)
    except AigqError as error:  # as the command does it
        print(f"aigq: {error}", file=sys.stderr, flush=True)
        os._exit(1)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(70)
