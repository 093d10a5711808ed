"""A command in a terminal of its own: what a person would see, and a picture of it."""

import fcntl
import io
import os
import pty
import signal
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import pyte
from rich.console import Console
from rich.style import Style
from rich.text import Text

COLUMNS, LINES, HISTORY = 120, 40, 5000
NAMES = {name: name for name in ("black", "red", "green", "blue", "magenta", "cyan", "white")}
COLORS = {"default": None, "brown": "yellow", **NAMES}  # pyte's name -> rich's


@dataclass
class Terminal:
    """What a command wrote. events: (seconds since its start, bytes). code: how it ended."""

    events: list[tuple[float, bytes]] = field(default_factory=list, repr=False)
    code: int | None = None

    def lines(self) -> list[Text]:
        """Everything that stands there, in order: what has scrolled away, then the screen."""
        screen = pyte.HistoryScreen(COLUMNS, LINES, history=HISTORY)
        stream = pyte.ByteStream(screen)
        for _, data in self.events:
            stream.feed(data)
        rows = [*screen.history.top, *(screen.buffer[row] for row in range(LINES))]
        lines = [_line(row) for row in rows]
        while lines and not lines[-1].plain:
            lines.pop()
        return lines

    def text(self) -> str:
        return "\n".join(line.plain for line in self.lines())

    def seconds_until(self, words: str) -> float:
        """When the words had been written whole; AssertionError if they never were."""
        written = b""
        for seconds, data in self.events:
            written += data
            if words.encode() in written:
                return seconds
        raise AssertionError(f"'{words}' was never written")

    def picture(self, title: str, first: str, last: str, without: str) -> str:
        """An SVG of the lines from the one that holds `first` to the last that holds `last`, but
        for those that hold `without`."""
        lines = [line for line in self.lines() if without not in line.plain]
        start = next(n for n, line in enumerate(lines) if first in line.plain)
        end = max(n for n, line in enumerate(lines) if last in line.plain)
        console = Console(record=True, width=COLUMNS, file=io.StringIO())
        for line in lines[start : end + 1]:
            console.print(line)
        return console.export_svg(title=title, unique_id="demo")


def in_terminal(command: Sequence[str], timeout: float, stop_at: str = "") -> Terminal:
    """Run the command in a terminal until it ends; it is killed after `timeout` seconds. stop_at:
    words at which a person presses Ctrl-C, once."""
    own, others = pty.openpty()
    fcntl.ioctl(others, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    env = os.environ | {"TERM": "xterm-256color"}
    process = subprocess.Popen(
        command,
        stdin=others,
        stdout=others,
        stderr=others,
        start_new_session=True,
        env=env,
        # Whoever started the tests in a shell's background has them ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    os.close(others)
    watch = threading.Timer(timeout, process.kill)
    watch.start()
    seen, began = Terminal(), time.monotonic()
    try:
        while data := _read(own):
            seen.events.append((time.monotonic() - began, data))
            if stop_at and stop_at in seen.text():
                os.killpg(process.pid, signal.SIGINT)
                stop_at = ""
        seen.code = process.wait()
    finally:
        watch.cancel()
        os.close(own)
    return seen


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # Linux says so when the last process has left the terminal
        return b""


def _line(row: dict[int, pyte.screens.Char]) -> Text:
    line = Text()
    for column in range(COLUMNS):
        char = row[column]
        line.append(char.data, Style(color=_color(char.fg), bold=char.bold or None))
    line.rstrip()
    return line


def _color(name: str) -> str | None:
    if name.startswith("bright"):
        return f"bright_{COLORS[name.removeprefix('bright')]}"
    return COLORS.get(name, f"#{name}")
