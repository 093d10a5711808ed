"""Options that several commands share, and what each command starts from."""

from datetime import date, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from aigq_tasks.errors import AigqError

if TYPE_CHECKING:
    from aigq_tasks.stages.context import Context


def parse_day(text: str) -> date:
    """A day as YYYY-MM-DD; AigqError for anything else."""
    try:
        return datetime.strptime(text, "%Y-%m-%d").date()
    except ValueError:
        raise AigqError(f"'{text}' is not a day: write YYYY-MM-DD") from None


Day = Annotated[
    date, typer.Option("--day", parser=parse_day, metavar="YYYY-MM-DD", help="The day of the log.")
]


def open_context() -> "Context":
    """The stores that the settings name."""
    from aigq_tasks.settings import load_settings
    from aigq_tasks.stages.context import Context

    return Context.open(load_settings())
