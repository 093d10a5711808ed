"""The demo: what it prints while it works, and at its end."""

import time
from datetime import date
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from aigq_tasks.evaluation.intervals import PairedDifference
    from aigq_tasks.reports.arm_days import DayOfArm
    from aigq_tasks.settings import Settings

app = typer.Typer()
CHART = "demo.png"  # in the state folder
DAYS, FULL_DAYS = 4, 5  # AIGQ-Think's own update is on the last of them
BAR = 60  # characters from 0 to 1


@app.command(rich_help_panel="Services")
def demo(
    days: Annotated[
        int | None,
        typer.Option(
            min=1, max=30, help=f"Days to backfill.  [default: {DAYS}; {FULL_DAYS} with --full]"
        ),
    ] = None,
    full: Annotated[
        bool,
        typer.Option(
            "--full", help="The whole market, as the published figures: three times as long."
        ),
    ] = False,
) -> None:
    """Services up, bootstrap, then Airflow's own backfill of some days; ends with table and chart.

    Stop it with Ctrl-C: the same command goes on where it was. A new state gets a smaller market
    (infra/demo.toml), so that a first look takes minutes.
    """
    from rich.console import Console

    from aigq_tasks.services.demo import Audience, run_demo

    began, console = time.monotonic(), Console()

    def minutes() -> str:
        return f"{(time.monotonic() - began) / 60:.1f} min"

    def step(settings: "Settings", name: str) -> None:
        print_step(console, settings, name, minutes())

    try:
        wanted = days or (FULL_DAYS if full else DAYS)
        settings = run_demo(wanted, full, console, Audience(step, day_words))
    except KeyboardInterrupt:
        console.print("stopped watching; the services go on. Again: aigq demo · end: make down")
        raise typer.Exit(130) from None
    print_end(console, settings)
    console.print(f"demo done in {minutes()}")


def print_step(console: "Console", settings: "Settings", step: str, minutes: str) -> None:
    """That a step of day zero is done; a shopper's first hints as soon as a policy has written
    them, and how the first release ranks them among others."""
    console.print(f"{step} done  {minutes}")
    if step in ("direct", "release"):
        from rich.text import Text

        from aigq_tasks.cli.printing import print_hints
        from aigq_tasks.pipeline.context import Context
        from aigq_tasks.reports.hints import SHOWN, written_list

        ctx = Context.open(settings)
        user, queries = written_list(ctx, settings.bootstrap_day)
        if step == "direct":
            console.print(Text(f"first hints, for {user}: {', '.join(queries[:SHOWN])}"))
        else:
            print_hints(ctx, user, None, console)


def day_words(settings: "Settings", day: date) -> str:
    """What became of a day: its release, verdict and hit rate beside its start's."""
    from aigq_tasks.pipeline.context import Context
    from aigq_tasks.reports.days import report_rows

    rows = {row["day"]: row for row in report_rows(Context.open(settings))}
    row = rows.get(day.isoformat())
    if row is None:
        return ""
    return (
        f"release {row['release']} {row['verdict']}  "
        f"HR@30 {row['HR@30']} (IL-SFT {row['HR@30 SFT']})"
    )


def print_end(console: "Console", settings: "Settings") -> None:
    """The table of days, the chart of the arms, and where to go from here."""
    from rich.text import Text

    from aigq_tasks.cli.printing import print_report
    from aigq_tasks.pipeline.context import Context
    from aigq_tasks.reports import arm_days
    from aigq_tasks.reports.days import daily, title
    from aigq_tasks.reports.hints import written_list
    from aigq_tasks.services.demo import DAILY

    ctx = Context.open(settings)
    user, _ = written_list(ctx, settings.bootstrap_day)
    print_report(ctx)
    entries = daily(ctx)
    points = arm_days.arms_by_day(ctx, entries)
    chart = settings.state_dir / CHART
    chart.write_bytes(arm_days.chart(points, title(ctx)))
    console.print(f"\n{arm_days.HEADING}, 95% interval over n users")
    for line in chart_lines(points):
        console.print(Text(line), soft_wrap=True)
    console.print(f"drawn in {chart}\n")
    if points:
        console.print(Text(what_it_cannot_decide(arm_days.worth(ctx, entries))))
    console.print(
        f"\nAirflow  {settings.airflow.url}/dags/{DAILY}\n"
        f"MLflow   {settings.mlflow.url}/#/experiments\n"
        f"Try      aigq hints --user {user} · aigq releases · aigq diff 3 4 · make down"
    )


def chart_lines(points: "list[DayOfArm]") -> list[str]:
    """A line per day and arm: its interval drawn on a scale from 0 to 1, in words behind it."""
    lines, day = [], ""
    for point in points:
        if point.day != day:
            day = point.day
            lines.append(f"{day}   0{'─' * (BAR - 2)}1")
        own = point.interval
        low, mean, high = (round(value * (BAR - 1)) for value in (own.low, own.mean, own.high))
        drawn = [" "] * low + ["─"] * (high - low + 1) + [" "] * (BAR - 1 - high)
        drawn[low], drawn[high], drawn[mean] = "├", "┤", "●"
        lines.append(f"{point.arm:<12} {''.join(drawn)}  {own} n={own.users}")
    return lines


def what_it_cannot_decide(worth: "PairedDifference") -> str:
    """How small a difference this many users can tell from chance."""
    half = (worth.high - worth.low) / 2
    told = f"Champion minus IL-SFT over all days: {worth} ({worth.users} users)."
    if half == 0:
        return f"{told} Nobody's hits differ: these days say nothing of how the two compare."
    return (
        f"{told} What differs by less "
        f"than about {half:.3f} cannot be told from chance here, by you or by the gate."
    )
