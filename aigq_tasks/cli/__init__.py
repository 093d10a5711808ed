"""The command `aigq`: reads arguments, settings and who runs it, and prints; decides nothing.

    stages    the stages of a day, by the table of the day, and the steps of day zero
    releases  the ledger: plan, backfill, approve, promote, go back, clean up
    look      what people look at, and the trainings that they start by hand
    services  the servers
    demo      the demo that runs days on them
    options   what several commands share
    printing  rows and verdicts as they are printed

May import everything; each command imports what it needs when it runs, so `aigq --help` loads
nothing heavy, and a table of the ledger no pandas. Beside the settings it alone knows which sources
of a log there are.
"""

import os
import sys
from collections.abc import Callable
from typing import Any

import typer

from aigq_tasks.cli import demo, look, releases, services, stages
from aigq_tasks.errors import AigqError, NothingToDo

NOTHING_TO_DO = 99
HELP = """`aigq`: every stage of the daily loop as a command, and what runs and shows the loop.

A stage works alone: it reads what earlier stages stored, and a second run with the same inputs
does nothing. Anything a user can mend is one line on stderr and exit code 1; a day for which a
stage has nothing to do exits with 99.
"""

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help=HELP,
    rich_markup_mode="markdown",
)
for commands in (stages, releases, look, services, demo):
    app.add_typer(commands.app)


def main() -> None:
    """Entry point: prints an AigqError as one line and turns it into the exit code."""
    # Loopback services must not be asked for through a proxy that the environment names.
    os.environ.setdefault("NO_PROXY", "127.0.0.1,localhost")
    # Idle OpenMP threads that spin cost 3-6 times the work on a machine that does other things.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    command: Callable[[], Any] = app
    try:
        command()
    except AigqError as error:
        from aigq_tasks.messages import complain

        complain(error)
        sys.exit(NOTHING_TO_DO if isinstance(error, NothingToDo) else 1)
