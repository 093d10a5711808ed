"""Time of the commands that people wait for, by the clock: a fresh process, its imports, the
services that it asks.

    python benchmarks/bench_command.py [--runs 3] [--commands help releases status report]

Runs the installed `aigq` against the state that the settings name (`aigq.toml`, AIGQ_...), whose
services must be up for all but `help`. Nothing is changed. On a machine that does other things the
figures say little: the load is printed with them.
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


def seconds(arguments: tuple[str, ...]) -> float:
    """Of one run; CalledProcessError, after what the command complains of, when it fails."""
    command = Path(sys.executable).with_name("aigq")
    clock = time.perf_counter()
    subprocess.run([command, *arguments], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - clock


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--commands", nargs="+", choices=COMMANDS, default=list(COMMANDS))
    options = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores before the first run")
    for name in options.commands:
        taken = [seconds(COMMANDS[name]) for _ in range(options.runs)]
        print(
            f"{name}: median {median(taken):.2f} s, {min(taken):.2f} to {max(taken):.2f} s, "
            f"{options.runs} runs"
        )


if __name__ == "__main__":
    main()
