"""`aigq demo`: from nothing to released days, all through Airflow."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta

from rich.console import Console

from aigq_tasks.errors import AigqError
from aigq_tasks.services import supervisor
from aigq_tasks.services.airflow_api import AirflowApi
from aigq_tasks.services.environment import REPOSITORY
from aigq_tasks.settings import OF_STATE, Settings, load_settings

BOOTSTRAP, DAILY = "hintq_bootstrap", "hintq_daily"
SMALLER = REPOSITORY / "infra" / "demo.toml"


@dataclass(frozen=True)
class Audience:
    """Who is told while the demo works. step: a step of day zero is done. day: a day is released;
    returns what more to say of it."""

    step: Callable[[Settings, str], None]
    day: Callable[[Settings, date], str]


def run_demo(days: int, full: bool, console: Console, audience: Audience) -> Settings:
    """Start the services, bootstrap, backfill `days` days after it. Returns the settings: the
    first start writes secrets and the demo's smaller size to them. console: shows how far it is.

    Run again, it goes on where it stopped, and every stage that is done finds its result.
    """
    supervisor.up(load_settings())
    choose_size(load_settings(), full)
    settings = load_settings()
    airflow = AirflowApi(settings.airflow.url, console)
    first = settings.bootstrap_day + timedelta(days=1)
    last = settings.bootstrap_day + timedelta(days=days)
    if not _released(settings):
        console.rule(f"bootstrap up to {settings.bootstrap_day}")
        airflow.unpause(BOOTSTRAP)
        day = settings.bootstrap_day.isoformat()
        run = f"demo-{day}"
        airflow.go_on(BOOTSTRAP, run, {"day": day, "reason": "demo"})
        airflow.wait_for_run(BOOTSTRAP, run, lambda step: audience.step(settings, step))
    console.rule(f"daily loop {first} .. {last}")
    airflow.unpause(DAILY)
    reason = {"reason": "demo"}
    airflow.backfill(
        DAILY, first, last, conf=reason, on_day=lambda day: audience.day(settings, day)
    )
    failed = [run for run in airflow.runs(DAILY, first, last) if run.state != "success"]
    if failed:
        raise AigqError(
            f"{len(failed)} of {days} days did not succeed, first {failed[0].day}: "
            f"see {settings.airflow.url}/dags/{DAILY}"
        )
    return settings


def choose_size(settings: Settings, full: bool) -> None:
    """Give a state in which nothing is landed yet the smaller size, unless `full`; any other keeps
    what it was made with. AigqError when the full size is asked of one that has the smaller."""
    chosen = settings.state_dir / OF_STATE
    if full and chosen.exists():
        raise AigqError(
            f"{settings.state_dir} is of the smaller size: `make clean` deletes it, or name "
            "another folder by AIGQ_STATE_DIR"
        )
    if full or chosen.exists() or _begun(settings):
        return
    part = chosen.with_suffix(".part")
    part.write_bytes(SMALLER.read_bytes())
    part.replace(chosen)


def _begun(settings: Settings) -> bool:
    from aigq_tasks.pipeline.context import Context

    return bool(Context.open(settings).store.list("manifests/"))


def _released(settings: Settings) -> bool:
    """Whether a bootstrap of this day already made a full release."""
    from aigq_tasks.pipeline.context import Context

    entries = Context.open(settings).ledger.entries()
    return any("direct" in entry.models for entry in entries)
