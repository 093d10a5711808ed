"""`aigq`: every stage of the daily loop as a command, and what runs and shows the loop.

A stage works alone: it reads what earlier stages stored, and a second run with the same inputs
does nothing. Anything a user can mend is one line on stderr and exit code 1; a day for which a
stage has nothing to do exits with 99.
"""

import os
import sys
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from aigq_tasks.errors import AigqError, NothingToDo

if TYPE_CHECKING:
    from aigq_tasks.stages.context import Context

STAGES = (
    "market",
    "ctr",
    "recall",
    "samples",
    "policy",
    "think-samples",
    "think-policy",
    "rivals",
    "evaluate",
    "gate",
    "u2q",
    "x2q",
    "item-texts",
    "servable",
    "publish",
)
NOTHING_TO_DO = 99

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help=__doc__,
    rich_markup_mode="markdown",
)
bootstrap_app = typer.Typer(no_args_is_help=True, help="Day zero, step by step (or `all`).")
app.add_typer(bootstrap_app, name="bootstrap")


def _day(text: str) -> date:
    try:
        return datetime.strptime(text, "%Y-%m-%d").date()
    except ValueError:
        raise AigqError(f"'{text}' is not a day: write YYYY-MM-DD") from None


Day = Annotated[
    date, typer.Option("--day", parser=_day, metavar="YYYY-MM-DD", help="The day of the log.")
]


LastDay = Annotated[date, typer.Option("--to", parser=_day, help="The last released day.")]
Seeds = Annotated[
    list[int], typer.Option("--seed", help="A seed of the trainings; may be repeated.")
]


def _context() -> "Context":
    from aigq_tasks.settings import load_settings
    from aigq_tasks.stages.context import Context

    return Context.open(load_settings())


def _note(ctx: "Context", text: str) -> None:
    """Show a verdict beside its task, where Airflow runs it."""
    from aigq_tasks.services.airflow_api import note_own_task

    note_own_task(ctx.settings.airflow.url, text)


def _run(stage: Any, day: date) -> None:
    from aigq_tasks.stages.runner import run_stage

    run_stage(stage, _context(), day)


@app.command(rich_help_panel="Daily stages")
def market(day: Day) -> None:
    """Land the event log of a day: replay its visits under the release that was live."""
    from aigq_tasks.stages.market import MarketStage, land

    land(_context(), day, MarketStage())


@app.command(rich_help_panel="Daily stages")
def ctr(day: Day) -> None:
    """Retrain the click model on a trailing window; judge its predecessor on the day."""
    from aigq_tasks.stages.ctr import CtrStage

    _run(CtrStage(), day)


@app.command(rich_help_panel="Daily stages")
def recall(day: Day) -> None:
    """Rebuild popularity, co-click, own-history and the two-tower model."""
    from aigq_tasks.stages.recall import RecallStage

    _run(RecallStage(), day)


@app.command(rich_help_panel="Daily stages")
def samples(day: Day) -> None:
    """Turn the day's click sessions into prompts with ordered query lists."""
    from aigq_tasks.stages.samples import SamplesStage

    _run(SamplesStage(), day)


@app.command(rich_help_panel="Daily stages")
def policy(day: Day) -> None:
    """Continue IL-GRPO from the parent's policy against the day's click model."""
    from aigq_tasks.stages.policy import PolicyStage

    _run(PolicyStage(), day)


@app.command("think-samples", rich_help_panel="Daily stages")
def think_samples(day: Day) -> None:
    """On the days that renew AIGQ-Think: the day's users as reasoned targets."""
    from aigq_tasks.stages.policy import require_think_due
    from aigq_tasks.stages.think_samples import ThinkSamplesStage

    require_think_due(_context(), day)
    _run(ThinkSamplesStage(), day)


@app.command("think-policy", rich_help_panel="Daily stages")
def think_policy(day: Day) -> None:
    """On the days that renew AIGQ-Think: continue its IL-GRPO from the parent's policy."""
    from aigq_tasks.stages.policy import PolicyStage, require_think_due

    require_think_due(_context(), day)
    _run(PolicyStage(think=True), day)


@app.command(rich_help_panel="Daily stages")
def rivals(day: Day) -> None:
    """Score champion, IL-SFT, AIGQ-Think and the classic sources on held-out users."""
    from aigq_tasks.stages.evaluate import RivalsStage

    _run(RivalsStage(), day)


@app.command(rich_help_panel="Daily stages")
def evaluate(day: Day) -> None:
    """Score the day's challengers on held-out users, beside their rivals."""
    from aigq_tasks.stages.evaluate import EvaluateStage

    _run(EvaluateStage(), day)


@app.command(rich_help_panel="Daily stages")
def gate(day: Day) -> None:
    """Accept or reject the challenger, with reasons."""
    from aigq_tasks.stages.gate import GateStage
    from aigq_tasks.stages.runner import run_stage
    from aigq_tasks.stages.verdicts import print_quality

    ctx = _context()
    _note(ctx, print_quality(ctx, run_stage(GateStage(), ctx, day)))


@app.command(rich_help_panel="Daily stages")
def u2q(day: Day) -> None:
    """Refresh the user→query lists with the accepted policy."""
    from aigq_tasks.stages.u2q import U2qStage

    _run(U2qStage(), day)


@app.command(rich_help_panel="Daily stages")
def x2q(day: Day) -> None:
    """Let AIGQ-Think reason over the day's users and rebuild the trigger→query index."""
    from aigq_tasks.stages.x2q import X2qStage

    _run(X2qStage(), day)


@app.command("item-texts", rich_help_panel="Daily stages")
def item_texts(day: Day) -> None:
    """Write what shoppers call the items that are new in the log."""
    from aigq_tasks.stages.item_text import ItemTextsStage

    _run(ItemTextsStage(), day)


@app.command(rich_help_panel="Daily stages")
def servable(day: Day) -> None:
    """Try the day's release on a few users, its models loaded anew: can it be served?"""
    from aigq_tasks.stages.runner import run_stage
    from aigq_tasks.stages.servable import ServableStage
    from aigq_tasks.stages.verdicts import print_servable

    ctx = _context()
    _note(ctx, print_servable(ctx, run_stage(ServableStage(), ctx, day)))


@app.command(rich_help_panel="Daily stages")
def publish(day: Day) -> None:
    """Load u2q and x2q into Valkey and append the day's release to the ledger."""
    from aigq_tasks.stages.publish import publish as publish_day

    publish_day(_context(), day)


def _step(name: str, summary: str) -> None:
    def command(day: Day) -> None:
        from aigq_tasks.stages.bootstrap import bootstrap

        bootstrap(_context(), day, name)

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
        bootstrap(_context(), day, step)


@app.command(rich_help_panel="Look")
def hints(
    user: Annotated[str, typer.Option("--user", help="User id, e.g. h1010.")],
    day: Annotated[
        date | None,
        typer.Option("--day", parser=_day, help="The day to serve (default: after the release)."),
    ] = None,
) -> None:
    """Print what the current release would show a user: query, source, score, release."""
    from aigq_tasks.stages.show import print_hints

    print_hints(_context(), user, day)


From = Annotated[date, typer.Option("--from", parser=_day, help="The first day.")]
To = Annotated[date, typer.Option("--to", parser=_day, help="The last day.")]


@app.command(rich_help_panel="Releases")
def plan(first: From, last: To) -> None:
    """Tell what a backfill of some days would run, and why, before it runs."""
    from aigq_tasks.stages.plan import print_plan

    print_plan(_context(), first, last)


@app.command(rich_help_panel="Releases")
def backfill(
    first: From,
    last: To,
    again: Annotated[
        bool, typer.Option("--again", help="Also the days that have succeeded in Airflow.")
    ] = False,
    why: Annotated[
        str, typer.Option("--reason", help="Why; it stands in the ledger.")
    ] = "backfill",
) -> None:
    """Run some days in Airflow, one after the other, and wait for them.

    Called again after a failure it goes on where that was.
    """
    from aigq_tasks.services.airflow_api import AirflowApi
    from aigq_tasks.settings import load_settings

    if first > last:
        raise AigqError(f"--from {first} lies after --to {last}")
    reprocess: Literal["completed", "failed"] = "completed" if again else "failed"
    airflow = AirflowApi(load_settings().airflow.url)
    airflow.backfill("hintq_daily", first, last, reprocess, {"reason": why})


@app.command(rich_help_panel="Releases")
def releases() -> None:
    """List the release ledger: what served when, from which parent, who released it and why."""
    from aigq_tasks.stages.releases import print_releases

    print_releases(_context())


@app.command(rich_help_panel="Releases")
def comparison(day: Day) -> None:
    """What a person is asked before the day's challenger goes live, as Markdown."""
    from aigq_tasks.stages.approval import print_comparison

    print_comparison(_context(), day)


@app.command(rich_help_panel="Releases")
def decline(
    day: Day,
    who: Annotated[str, typer.Option(envvar="AIGQ_WHO", help="Who rejects.")],
    why: Annotated[
        str, typer.Option("--reason", envvar="AIGQ_WHY", help="Why; it stands in the ledger.")
    ],
) -> None:
    """Reject the day's release: what is live stays live, and the ledger tells who and why."""
    from aigq_tasks.stages.approval import decline as reject

    reject(_context(), day, who, why)


@app.command(rich_help_panel="Releases")
def alert(
    dag: Annotated[str, typer.Option(help="The Dag that needs somebody.")],
    what: Annotated[str, typer.Option(help="What is the matter: failed, is late, waits.")],
    remedy: Annotated[str, typer.Option(help="What to do.")],
    day: Annotated[str, typer.Option(help="The day of the run.")] = "",
    task: Annotated[str, typer.Option(help="The task.")] = "",
    error: Annotated[str, typer.Option(help="The last line that the task said.")] = "",
    url: Annotated[str, typer.Option(help="Where to act.")] = "",
) -> None:
    """Tell people by the webhook or the mail of the settings; it stands in the log anyway."""
    from aigq_tasks.alerts import Alert, send
    from aigq_tasks.settings import load_settings

    told = Alert(dag=dag, what=what, remedy=remedy, day=day, task=task, error=error, url=url)
    send(told, load_settings().alerts)


Number = Annotated[int, typer.Argument(help="Number of a release, see `aigq releases`.")]


@app.command(rich_help_panel="Releases")
def release(number: Number) -> None:
    """Tell all that went into a release: models, manifests, inputs, code, settings."""
    from aigq_tasks.stages.releases import print_release

    print_release(_context(), number)


@app.command(rich_help_panel="Releases")
def diff(old: Number, new: Number) -> None:
    """Tell what changed between two releases: models, settings, metrics."""
    from aigq_tasks.stages.releases import print_difference

    print_difference(_context(), old, new)


@app.command(rich_help_panel="Releases")
def rollback(
    to: Annotated[int, typer.Option("--to", help="Number of the release to serve again.")],
    why: Annotated[
        str, typer.Option("--reason", envvar="AIGQ_WHY", help="Why; it stands in the ledger.")
    ],
) -> None:
    """Serve again what an earlier release served: seconds, nothing is rebuilt.

    The next daily run goes on from the policy that is served then.
    """
    from aigq_tasks.stages.releases import rollback as go_back

    go_back(_context(), to, why)


@app.command(rich_help_panel="Releases")
def promote() -> None:
    """Answer who moved `champion` in MLflow: a release with that version, or the reason why not.

    What depends on the version is made anew and tried first. Exit code 99 when nobody asked.
    """
    from aigq_tasks.stages.promote import promote as answer_requests

    answer_requests(_context())


@app.command(rich_help_panel="Releases")
def reconcile() -> None:
    """Bring verdicts and aliases in MLflow to what the ledger says; moved ones stay for promote."""
    from aigq_tasks.stages.aliases import reconcile as follow

    for version in follow(_context()):
        print(f"a person made {version} champion: `aigq promote` answers")


@app.command(rich_help_panel="Releases")
def gc(
    days: Annotated[int, typer.Option("--keep-days", min=1, help="Days of releases to keep.")] = 30,
    grace: Annotated[
        float, typer.Option("--grace-hours", min=0, help="Younger objects always stay.")
    ] = 24,
    dry: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
) -> None:
    """Remove stored results that no kept release needs, to serve or to go on from."""
    from aigq_tasks.stages.gc import collect

    collect(_context(), days, grace, dry)


@app.command("x2q-lookup", rich_help_panel="Look")
def x2q_lookup(
    trigger: Annotated[
        list[str], typer.Option("--trigger", help="A query or an item's text; may be repeated.")
    ],
    day: Annotated[
        date | None,
        typer.Option("--day", parser=_day, help="The day served (default: the newest release)."),
    ] = None,
) -> None:
    """Print the queries that a trigger leads to in the current release."""
    from aigq_tasks.stages.show import print_lookup

    print_lookup(_context(), trigger, day)


@app.command(rich_help_panel="Look")
def report(
    out: Annotated[
        Path | None, typer.Option(help="Also write it as Markdown, with all arms and intervals.")
    ] = None,
) -> None:
    """The table of days: click model, rewards, hit rates, verdict, release."""
    from aigq_tasks.stages.show import print_report

    print_report(_context(), out)


@app.command("market-card", rich_help_panel="Look")
def market_card(
    out: Annotated[Path, typer.Option(help="Where to write the card.")] = Path("market-card.md"),
) -> None:
    """Write the market card: marginals of the landed days and the baselines on them."""
    from aigq_tasks.stages.card import write_card

    write_card(_context(), out)


@app.command(rich_help_panel="Look")
def study(
    last: LastDay,
    seeds: Seeds,
    variants: Annotated[
        list[str], typer.Option("--variant", help="What trains; may be repeated.")
    ] = ["il-grpo", "grpo"],  # noqa: B006  typer copies it
    out: Annotated[Path, typer.Option(help="Where to write the report.")] = Path("study.md"),
) -> None:
    """Train the released days again with other seeds: does IL-GRPO help, and is it luck?

    Variants: il-grpo (as the daily loop trains), grpo (one advantage per list), "il-grpo, equal
    bounds", "il-grpo, no entropy bonus". Five to ten minutes per seed and variant on 2 cores for
    five days; resumes where it stopped; releases nothing.
    """
    from aigq_tasks.stages.study import study as run_study

    run_study(_context(), last, variants, seeds, out)


@app.command(rich_help_panel="Look")
def ablation(
    last: LastDay,
    seeds: Seeds,
    out: Annotated[Path, typer.Option(help="Where to write the report.")] = Path("ablation.md"),
) -> None:
    """Train both variants with one part of their samples changed: what is each part worth?

    One to two hours per seed on 2 cores, most of it for the long prompts; resumes where it
    stopped; releases nothing.
    """
    from aigq_tasks.stages.ablation import ablation as run_ablation

    run_ablation(_context(), last, seeds, out)


@app.command(rich_help_panel="Models")
def pretrain(
    out: Annotated[Path, typer.Option(help="Folder for the model; resumes from its checkpoint.")],
    steps: Annotated[int | None, typer.Option(help="Fewer steps, for a trial.")] = None,
    threads: Annotated[int, typer.Option(help="torch threads; another number, other bytes.")] = 1,
) -> None:
    """Train the `tiny` base model on behaviours before 2017-09-01 (hours on a CPU)."""
    from aigq_tasks.stages.base_model import train_base

    train_base(out, steps, threads)


@app.command(rich_help_panel="Services")
def up() -> None:
    """Start S3, Valkey, MLflow and Airflow and wait until they are healthy."""
    from aigq_tasks.services import supervisor
    from aigq_tasks.settings import load_settings

    supervisor.up(load_settings())


@app.command(rich_help_panel="Services")
def down() -> None:
    """Stop all services; no process stays behind."""
    from aigq_tasks.services import supervisor
    from aigq_tasks.settings import load_settings

    supervisor.down(load_settings())


@app.command(rich_help_panel="Services")
def status() -> None:
    """Which services run, where, and whether they are healthy."""
    from aigq_tasks.services.show import print_status

    print_status()


@app.command(rich_help_panel="Services")
def demo(
    days: Annotated[int, typer.Option(min=1, max=30, help="Days to backfill.")] = 5,
) -> None:
    """Services up, bootstrap, then Airflow's own backfill of some days; ends with the table."""
    from aigq_tasks.services.demo import run_demo

    run_demo(days)


def main() -> None:
    """Entry point: prints an AigqError as one line and turns it into the exit code."""
    # Loopback services must not be asked for through a proxy that the environment names.
    os.environ.setdefault("NO_PROXY", "127.0.0.1,localhost")
    # Idle OpenMP threads that spin cost 3-6 times the work on a machine that does other things.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    command: Callable[[], Any] = app
    try:
        command()
    except AigqError as error:
        from aigq_tasks.messages import complain

        complain(error)
        sys.exit(NOTHING_TO_DO if isinstance(error, NothingToDo) else 1)
