"""The servers."""

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
