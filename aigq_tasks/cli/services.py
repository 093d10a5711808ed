"""The servers, and the demo that runs days on them."""

import time
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
    from rich.console import Console

    from aigq_tasks.services import supervisor
    from aigq_tasks.settings import load_settings

    Console().print(supervisor.status_table(supervisor.status(load_settings())))


@app.command(rich_help_panel=PANEL)
def demo(
    days: Annotated[int, typer.Option(min=1, max=30, help="Days to backfill.")] = 5,
) -> None:
    """Services up, bootstrap, then Airflow's own backfill of some days; ends with the table."""
    from rich.console import Console

    from aigq_tasks.cli.printing import print_report
    from aigq_tasks.pipeline.context import Context
    from aigq_tasks.services.demo import DAILY, run_demo

    began, console = time.monotonic(), Console()
    settings = run_demo(days, console)
    print_report(Context.open(settings))
    console.print(
        f"Airflow  {settings.airflow.url}/dags/{DAILY}\n"
        f"MLflow   {settings.mlflow.url}/#/experiments\n"
        "Try      aigq hints --user h1010 · aigq report · aigq status · make down"
    )
    console.print(f"demo done in {(time.monotonic() - began) / 60:.1f} min")
