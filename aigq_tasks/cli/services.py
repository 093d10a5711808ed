"""The servers, and the demo that runs days on them."""

from typing import Annotated

import typer

PANEL = "Services"

app = typer.Typer()


@app.command(rich_help_panel=PANEL)
def up() -> None:
    """Start S3, Valkey, MLflow and Airflow and wait until they are healthy."""
    from aigq_tasks.services import supervisor
    from aigq_tasks.settings import load_settings

    supervisor.up(load_settings())


@app.command(rich_help_panel=PANEL)
def down() -> None:
    """Stop all services; no process stays behind."""
    from aigq_tasks.services import supervisor
    from aigq_tasks.settings import load_settings

    supervisor.down(load_settings())


@app.command(rich_help_panel=PANEL)
def status() -> None:
    """Which services run, where, and whether they are healthy."""
    from aigq_tasks.services.show import print_status

    print_status()


@app.command(rich_help_panel=PANEL)
def demo(
    days: Annotated[int, typer.Option(min=1, max=30, help="Days to backfill.")] = 5,
) -> None:
    """Services up, bootstrap, then Airflow's own backfill of some days; ends with the table."""
    from aigq_tasks.services.demo import run_demo

    run_demo(days)
