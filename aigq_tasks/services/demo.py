"""`aigq demo`: from nothing to released days, all through Airflow."""

from datetime import timedelta

from rich.console import Console

from aigq_tasks.errors import AigqError
from aigq_tasks.services import supervisor
from aigq_tasks.services.airflow_api import AirflowApi
from aigq_tasks.settings import Settings, load_settings

BOOTSTRAP, DAILY = "hintq_bootstrap", "hintq_daily"


def run_demo(days: int, console: Console) -> Settings:
    """Start the services, bootstrap, backfill `days` days after it. Returns the settings: the
    first start writes secrets to them. console: shows how far it is.

    Run again, every stage finds its result and nothing is computed.
    """
    supervisor.up(load_settings())
    settings = load_settings()
    airflow = AirflowApi(settings.airflow.url, console)
    first = settings.bootstrap_day + timedelta(days=1)
    last = settings.bootstrap_day + timedelta(days=days)
    if not _released(settings):
        console.rule(f"bootstrap up to {settings.bootstrap_day}")
        airflow.unpause(BOOTSTRAP)
        conf = {"day": settings.bootstrap_day.isoformat(), "reason": "demo"}
        run = airflow.trigger(BOOTSTRAP, conf)
        airflow.wait_for_run(BOOTSTRAP, run)
    console.rule(f"daily loop {first} .. {last}")
    airflow.unpause(DAILY)
    airflow.backfill(DAILY, first, last, conf={"reason": "demo"})
    failed = [run for run in airflow.runs(DAILY, first, last) if run.state != "success"]
    if failed:
        raise AigqError(
            f"{len(failed)} of {days} days did not succeed, first {failed[0].day}: "
            f"see {settings.airflow.url}/dags/{DAILY}"
        )
    return settings


def _released(settings: Settings) -> bool:
    """Whether a bootstrap of this day already made a full release."""
    from aigq_tasks.pipeline.context import Context

    entries = Context.open(settings).ledger.entries()
    return any("direct" in entry.models for entry in entries)
