"""`aigq status`: the services as a table."""

from rich.console import Console

from aigq_tasks.services.supervisor import status, status_table
from aigq_tasks.settings import load_settings


def print_status() -> None:
    """Print one row per service, asked now."""
    Console().print(status_table(status(load_settings())))
