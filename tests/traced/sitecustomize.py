"""Python imports a module of this name when it starts. With this folder on PYTHONPATH, a process
and those that it spawns note which lines of the file AIGQ_TEST_LINES_OF they run, and each leaves
its line numbers in a file of the folder AIGQ_TEST_LINES_TO when it ends."""

import atexit
import os
import sys
import threading
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

TARGET, FOLDER = os.environ.get("AIGQ_TEST_LINES_OF"), os.environ.get("AIGQ_TEST_LINES_TO")
RUN: set[int] = set()


def executable_lines(code: CodeType) -> set[int]:
    """The lines of the code and of all functions and classes inside it."""
    inner = [one for one in code.co_consts if isinstance(one, CodeType)]
    own = {line for _, _, line in code.co_lines() if line}
    return own.union(*map(executable_lines, inner))


def trace(frame: FrameType, event: str, _: Any) -> Any:
    """A trace function: of the target's frames every line, of others nothing."""
    if frame.f_code.co_filename != TARGET:
        return None
    RUN.add(frame.f_lineno)
    return trace


def leave() -> None:
    sys.settrace(None)
    Path(str(FOLDER), f"{os.getpid()}.txt").write_text(" ".join(map(str, RUN)))


if TARGET and FOLDER:
    atexit.register(leave)
    threading.settrace(trace)
    sys.settrace(trace)
