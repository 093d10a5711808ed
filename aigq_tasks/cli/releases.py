"""The release ledger as commands: look, plan, backfill, approve, promote, go back, clean up."""

from datetime import date
from typing import Annotated, Literal

import typer

from aigq_tasks.cli.options import Day, Who, Why, open_context, parse_day
from aigq_tasks.errors import AigqError

PANEL = "Releases"

app = typer.Typer()
release_app = typer.Typer(no_args_is_help=True)


@release_app.callback()
def _release() -> None:
    """Look into one release."""


app.add_typer(release_app, name="release", rich_help_panel=PANEL)

From = Annotated[date, typer.Option("--from", parser=parse_day, help="The first day.")]
To = Annotated[date, typer.Option("--to", parser=parse_day, help="The last day.")]
All = Annotated[bool, typer.Option("--all", help="Everything, not only what tells most.")]


@app.command(rich_help_panel=PANEL)
def plan(first: From, last: To, whole: All = False) -> None:
    """Tell what a backfill of some days would run, and why, before it runs: a line for each day."""
    from aigq_tasks.cli.printing import print_plan
    from aigq_tasks.releases.plan import plan as plan_days

    print_plan(plan_days(open_context(), first, last), whole)


@app.command(rich_help_panel=PANEL)
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


@app.command(rich_help_panel=PANEL)
def releases() -> None:
    """List the release ledger: what served when, from which parent, who released it and why."""
    from aigq_tasks.cli.printing import print_releases

    print_releases(open_context())


@app.command(rich_help_panel=PANEL)
def comparison(day: Day) -> None:
    """What a person is asked before the day's challenger goes live, as Markdown."""
    from aigq_tasks.messages import say
    from aigq_tasks.releases.approval import comparison as compare

    say(compare(open_context(), day))


@app.command(rich_help_panel=PANEL)
def decline(day: Day, who: Who, why: Why) -> None:
    """Reject the day's release: what is live stays live, and the ledger tells who and why."""
    from aigq_tasks.releases.approval import decline as reject
    from aigq_tasks.services.proposals import propose_rollback

    ctx = open_context()
    propose_rollback(ctx, reject(ctx, day, who, why))


@app.command(rich_help_panel=PANEL)
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
    from aigq_tasks.services.alerts import Alert, send
    from aigq_tasks.settings import load_settings

    told = Alert(dag=dag, what=what, remedy=remedy, day=day, task=task, error=error, url=url)
    send(told, load_settings().alerts)


Number = Annotated[int, typer.Argument(help="Number of a release, see `aigq releases`.")]


@release_app.command("show")
def show(number: Number) -> None:
    """Tell all that went into a release: models, manifests, inputs, code, settings."""
    from aigq_tasks.cli.printing import print_release

    print_release(open_context(), number)


@app.command(rich_help_panel=PANEL)
def diff(old: Number, new: Number, whole: All = False) -> None:
    """Tell what changed between two releases: who and why, models, settings, figures."""
    from aigq_tasks.cli.printing import print_difference

    print_difference(open_context(), old, new, whole)


@app.command(rich_help_panel=PANEL)
def rollback(
    to: Annotated[int, typer.Option("--to", help="Number of the release to serve again.")],
    who: Who,
    why: Why,
) -> None:
    """Serve again what an earlier release served: seconds, nothing is rebuilt.

    The next daily run goes on from the policy that is served then.
    """
    from aigq_tasks.releases.rollback import rollback as go_back

    go_back(open_context(), to, who, why)


@app.command(rich_help_panel=PANEL)
def promote(who: Who) -> None:
    """Answer who moved `champion` in MLflow: a release with that version, or the reason why not.

    What depends on the version is made anew and tried first. Exit code 99 when nobody asked.
    """
    from aigq_tasks.releases.promote import promote as answer_requests

    answer_requests(open_context(), who)


@app.command(rich_help_panel=PANEL)
def reconcile() -> None:
    """Bring verdicts and aliases in MLflow to what the ledger says; moved ones stay for promote."""
    from aigq_tasks.releases.aliases import reconcile as follow

    for version in follow(open_context()):
        print(f"a person made {version} champion: `aigq promote` answers")


@app.command(rich_help_panel=PANEL)
def gc(
    days: Annotated[int, typer.Option("--keep-days", min=1, help="Days of releases to keep.")] = 30,
    grace: Annotated[
        float, typer.Option("--grace-hours", min=0, help="Younger objects always stay.")
    ] = 24,
    dry: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
) -> None:
    """Remove stored results that no kept release needs, to serve or to go on from."""
    from aigq_tasks.releases.gc import collect

    done, verb = collect(open_context(), days, grace, dry), "would be removed" if dry else "removed"
    kept = f"{done.kept_results} results and {done.kept_releases} releases kept"
    print(f"{done.objects} objects {verb}, {kept}")
