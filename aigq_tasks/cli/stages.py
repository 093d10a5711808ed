"""The stages of a day and the steps of day zero as commands."""

from datetime import date
from typing import TYPE_CHECKING, Any

import typer

from aigq_tasks.cli.options import Day, open_context

if TYPE_CHECKING:
    from aigq_tasks.stages.context import Context

PANEL = "Daily stages"

app = typer.Typer()
bootstrap_app = typer.Typer(no_args_is_help=True, help="Day zero, step by step (or `all`).")
app.add_typer(bootstrap_app, name="bootstrap", rich_help_panel="Day zero")


def _note(ctx: "Context", text: str) -> None:
    """Show a verdict beside its task, where Airflow runs it."""
    from aigq_tasks.services.airflow_api import note_own_task

    note_own_task(ctx.settings.airflow.url, text)


def _run(stage: Any, day: date) -> None:
    from aigq_tasks.stages.runner import run_stage

    run_stage(stage, open_context(), day)


@app.command(rich_help_panel=PANEL)
def market(day: Day) -> None:
    """Land the event log of a day: replay its visits under the release that was live."""
    from aigq_tasks.stages.market import MarketStage, land

    land(open_context(), day, MarketStage())


@app.command(rich_help_panel=PANEL)
def ctr(day: Day) -> None:
    """Retrain the click model on a trailing window; judge its predecessor on the day."""
    from aigq_tasks.stages.ctr import CtrStage

    _run(CtrStage(), day)


@app.command(rich_help_panel=PANEL)
def recall(day: Day) -> None:
    """Rebuild popularity, co-click, own-history and the two-tower model."""
    from aigq_tasks.stages.recall import RecallStage

    _run(RecallStage(), day)


@app.command(rich_help_panel=PANEL)
def samples(day: Day) -> None:
    """Turn the day's click sessions into prompts with ordered query lists."""
    from aigq_tasks.stages.samples import SamplesStage

    _run(SamplesStage(), day)


@app.command("think-samples", rich_help_panel=PANEL)
def think_samples(day: Day) -> None:
    """On the days that renew AIGQ-Think: the day's users as reasoned targets."""
    from aigq_tasks.stages.policy import require_think_due
    from aigq_tasks.stages.think_samples import ThinkSamplesStage

    require_think_due(open_context(), day)
    _run(ThinkSamplesStage(), day)


@app.command(rich_help_panel=PANEL)
def policy(day: Day) -> None:
    """Continue IL-GRPO from the parent's policy against the day's click model."""
    from aigq_tasks.stages.policy import PolicyStage

    _run(PolicyStage(), day)


@app.command("think-policy", rich_help_panel=PANEL)
def think_policy(day: Day) -> None:
    """On the days that renew AIGQ-Think: continue its IL-GRPO from the parent's policy."""
    from aigq_tasks.stages.policy import PolicyStage, require_think_due

    require_think_due(open_context(), day)
    _run(PolicyStage(think=True), day)


@app.command(rich_help_panel=PANEL)
def rivals(day: Day) -> None:
    """Score champion, IL-SFT, AIGQ-Think and the classic sources on held-out users."""
    from aigq_tasks.stages.evaluate import RivalsStage

    _run(RivalsStage(), day)


@app.command(rich_help_panel=PANEL)
def evaluate(day: Day) -> None:
    """Score the day's challengers on held-out users, beside their rivals."""
    from aigq_tasks.stages.evaluate import EvaluateStage

    _run(EvaluateStage(), day)


@app.command(rich_help_panel=PANEL)
def gate(day: Day) -> None:
    """Accept or reject the challenger, with reasons."""
    from aigq_tasks.stages.gate import GateStage
    from aigq_tasks.stages.runner import run_stage
    from aigq_tasks.stages.verdicts import print_quality

    ctx = open_context()
    _note(ctx, print_quality(ctx, run_stage(GateStage(), ctx, day)))


@app.command(rich_help_panel=PANEL)
def u2q(day: Day) -> None:
    """Refresh the user→query lists with the accepted policy."""
    from aigq_tasks.stages.u2q import U2qStage

    _run(U2qStage(), day)


@app.command(rich_help_panel=PANEL)
def x2q(day: Day) -> None:
    """Let AIGQ-Think reason over the day's users and rebuild the trigger→query index."""
    from aigq_tasks.stages.x2q import X2qStage

    _run(X2qStage(), day)


@app.command("item-texts", rich_help_panel=PANEL)
def item_texts(day: Day) -> None:
    """Write what shoppers call the items that are new in the log."""
    from aigq_tasks.stages.item_text import ItemTextsStage

    _run(ItemTextsStage(), day)


@app.command(rich_help_panel=PANEL)
def servable(day: Day) -> None:
    """Try the day's release on a few users, its models loaded anew: can it be served?"""
    from aigq_tasks.stages.runner import run_stage
    from aigq_tasks.stages.servable import ServableStage
    from aigq_tasks.stages.verdicts import print_servable

    ctx = open_context()
    _note(ctx, print_servable(ctx, run_stage(ServableStage(), ctx, day)))


@app.command(rich_help_panel=PANEL)
def publish(day: Day) -> None:
    """Load u2q and x2q into Valkey and append the day's release to the ledger."""
    from aigq_tasks.stages.publish import publish as publish_day

    publish_day(open_context(), day)


def _step(name: str, summary: str) -> None:
    def command(day: Day) -> None:
        from aigq_tasks.stages.bootstrap import bootstrap

        bootstrap(open_context(), day, name)

    command.__doc__ = summary
    bootstrap_app.command(name)(command)


_step("history", "Land the searches and item clicks of the months before the launch.")
_step("items", "Learn what shoppers call an item, and write its first texts.")
_step("launch", "Release 1: recall sources only.")
_step("stack", "Show hints for some days, train a click model: release 2.")
_step("sessions", "More days under that stack, for the policies to learn from.")
_step("direct", "IL-SFT of AIGQ-Direct from the base model, and its first u2q lists.")
_step("think", "IL-SFT of AIGQ-Think from the base model, and its first x2q index.")
_step("release", "Release 3: recall, click model, both policies, u2q and x2q.")


@bootstrap_app.command("all")
def bootstrap_all(day: Day) -> None:
    """All steps, one after the other."""
    from aigq_tasks.stages.bootstrap import STEPS, bootstrap

    for step in STEPS:
        bootstrap(open_context(), day, step)
