"""The stages of a day and the steps of day zero as commands."""

from datetime import date

import typer

from aigq_tasks.cli.options import BY_HAND, Day, Who, Why, open_context
from aigq_tasks.stages.day import DAY, Step

PANEL = "Daily stages"

app = typer.Typer()
bootstrap_app = typer.Typer(no_args_is_help=True, help="Day zero, step by step (or `all`).")
app.add_typer(bootstrap_app, name="bootstrap", rich_help_panel="Day zero")


def _run(step: Step, day: date) -> None:
    """Run a stage; print its verdict, if it gives one, and show it beside its task in Airflow."""
    from aigq_tasks.cli.printing import print_verdicts
    from aigq_tasks.pipeline.calendar import require_think_due
    from aigq_tasks.pipeline.runner import run_stage
    from aigq_tasks.reports.verdicts import verdicts
    from aigq_tasks.services.airflow_task import note_own_task

    ctx = open_context()
    if step.think:
        require_think_due(ctx.settings, day)
    if step.name == "logs":
        from aigq_tasks.releases.landing import land  # the checks of rows: no other stage has them

        made = land(ctx, day)
    else:
        made = run_stage(step.stage, ctx, day)
    given = verdicts(ctx, made)
    if given:
        note_own_task(ctx.settings.airflow.url, print_verdicts(given))


def _add_stage(step: Step) -> None:
    def command(day: Day) -> None:
        _run(step, day)

    command.__doc__ = step.summary
    app.command(step.name, rich_help_panel=PANEL)(command)


for _step in DAY:
    _add_stage(_step)


@app.command(rich_help_panel=PANEL)
def publish(day: Day, who: Who, why: Why = BY_HAND) -> None:
    """Load u2q and x2q into Valkey and append the day's release to the ledger."""
    from aigq_tasks.releases.publish import publish as publish_day
    from aigq_tasks.services.proposals import propose_rollback

    ctx = open_context()
    propose_rollback(ctx, publish_day(ctx, day, who, why))


def _add_step(name: str, summary: str) -> None:
    def command(day: Day, who: Who, why: Why = BY_HAND) -> None:
        from aigq_tasks.releases.bootstrap import bootstrap

        bootstrap(open_context(), day, name, who, why)

    command.__doc__ = summary
    bootstrap_app.command(name)(command)


_add_step("history", "Land the searches and item clicks of the months before the launch.")
_add_step("items", "Learn what shoppers call an item, and write its first texts.")
_add_step("launch", "Release 1: recall sources only.")
_add_step("stack", "Show hints for some days, train a click model: release 2.")
_add_step("sessions", "More days under that stack, for the policies to learn from.")
_add_step("direct", "IL-SFT of AIGQ-Direct from the base model, and its first u2q lists.")
_add_step("think", "IL-SFT of AIGQ-Think from the base model, and its first x2q index.")
_add_step("release", "Release 3: recall, click model, both policies, u2q and x2q.")


@bootstrap_app.command("all")
def bootstrap_all(day: Day, who: Who, why: Why = BY_HAND) -> None:
    """All steps, one after the other."""
    from aigq_tasks.releases.bootstrap import STEPS, bootstrap

    ctx = open_context()
    for step in STEPS:
        bootstrap(ctx, day, step, who, why)
