"""Time of the commands that people wait for, by the clock: a fresh process, its imports, the
services that it asks.

    python benchmarks/bench_command.py [--runs 3] [--commands help releases status report]

Runs the installed `aigq` against the state that the settings name (`aigq.toml`, AIGQ_...), and
changes nothing in it. A command that fails, for no service is up, has no figure. On a machine that
does other things the figures say little: the load is printed with them.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

COMMANDS = {
    "help": ("--help",),
    "releases": ("releases",),
    "status": ("status",),
    "report": ("report",),
}


def seconds(arguments: tuple[str, ...]) -> float | None:
    """Of one run; None when it fails, and the command has said why."""
    command = Path(sys.executable).with_name("aigq")
    clock = time.perf_counter()
    code = subprocess.run([command, *arguments], stdout=subprocess.DEVNULL, check=False).returncode
    return None if code else time.perf_counter() - clock


def figures(taken: list[float]) -> str:
    """Median and range in words."""
    if not taken:
        return "no figure, for it fails"
    low, high = min(taken), max(taken)
    return f"median {median(taken):.2f} s, {low:.2f} to {high:.2f} s, {len(taken)} runs"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--commands", nargs="+", choices=COMMANDS, default=list(COMMANDS))
    options = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores before the first run")
    for name in options.commands:
        taken = [seconds(COMMANDS[name]) for _ in range(options.runs)]
        print(f"{name}: {figures([one for one in taken if one is not None])}")


if __name__ == "__main__":
    main()
