"""Options that several commands share, and what each command starts from."""

import getpass
from datetime import date, datetime, time
from typing import TYPE_CHECKING, Annotated

import typer

from aigq_tasks.errors import AigqError

if TYPE_CHECKING:
    from aigq_tasks.pipeline.context import Context


def parse_day(text: str) -> date:
    """A day as YYYY-MM-DD; AigqError for anything else."""
    try:
        return datetime.strptime(text, "%Y-%m-%d").date()
    except ValueError:
        raise AigqError(f"'{text}' is not a day: write YYYY-MM-DD") from None


def parse_time(text: str) -> time:
    """HH:MM:SS or HH:MM."""
    try:
        return time.fromisoformat(text)
    except ValueError:
        raise AigqError(f"'{text}' is not a time of day: write HH:MM:SS") from None


def system_user() -> str:
    """Who runs the command, where nobody says so; AigqError when the system does not know."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        raise AigqError("no user name for the ledger: set the variable AIGQ_WHO") from None


Day = Annotated[
    date, typer.Option("--day", parser=parse_day, metavar="YYYY-MM-DD", help="The day of the log.")
]
# Airflow's tasks say both by the variables.
Who = Annotated[
    str,
    typer.Option(
        "--who",
        envvar="AIGQ_WHO",
        default_factory=system_user,
        show_default="the system user",
        help="Who does it; it stands in the ledger.",
    ),
]
Why = Annotated[
    str, typer.Option("--reason", envvar="AIGQ_WHY", help="Why; it stands in the ledger.")
]
BY_HAND = "by hand"  # why, where nobody says


def open_context() -> "Context":
    """The stores that the settings name."""
    from aigq_tasks.pipeline.context import Context
    from aigq_tasks.settings import load_settings

    return Context.open(load_settings())
