"""What the commands print: rows of `aigq_tasks.reports` as tables, verdicts as sentences.

Reports that load pandas are imported by who prints them: the others answer at once.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import date, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from aigq_tasks.pipeline.preflight import preflight
from aigq_tasks.reports import days, ledger
from aigq_tasks.reports.trend import TITLE, trend_rows

if TYPE_CHECKING:
    from aigq_tasks.pipeline.context import Context
    from aigq_tasks.releases.plan import PlannedStep
    from aigq_tasks.reports.difference import Compared
    from aigq_tasks.reports.verdicts import VerdictReport

Rows = Sequence[dict[str, str]]
LOG_WIDTH = 100  # a task's log has no terminal to ask
WIDE = 140


def as_table(rows: Rows, one_line: bool = False, **look: Any) -> Table:
    """Rows as a table. Their text is data, and never read as markup. one_line: what does not fit
    is cut, not wrapped. look: of rich's Table."""
    shown = Table(*(rows[0] if rows else ()), **look)
    fit: dict[str, Any] = {"no_wrap": True, "overflow": "ellipsis"} if one_line else {}
    for row in rows:
        shown.add_row(*(Text(value, **fit) for value in row.values()))
    return shown


def print_report(ctx: "Context", out: Path | None = None) -> None:
    """The table of days, the champion beside its anchors and, with `out`, a file with the arms'
    intervals too."""
    preflight(("s3",), ctx)
    rows = days.report_rows(ctx)
    console = Console(width=130)
    console.print(as_table(rows, title=days.title(ctx), box=None))
    trend = trend_rows(ctx)
    if trend:
        console.print(Text(f"\n{TITLE}"))
        console.print(as_table(trend, box=None))
    if out is not None:
        from aigq_tasks.reports.arms import report

        out.write_text(report(ctx))
        print(f"report written to {out}")


def print_hints(
    ctx: "Context",
    user: str,
    day: date | None,
    console: Console | None = None,
    at: time | None = None,
) -> None:
    """The release and the user's cached list as soon as they are read, then the ranking: when the
    day begins, or at a time of it."""
    from aigq_tasks.reports import hints

    preflight(("s3", "valkey"), ctx)
    entry = hints.serving_entry(ctx, day)
    served = day or entry.day + timedelta(days=1)
    console = console or Console(width=LOG_WIDTH)
    moment = f"{served} {at:%H:%M:%S}" if at else f"{served}"
    heading = f"{user} on {moment} · release {entry.number} ({entry.day}, {entry.verdict})"
    console.print(Text(heading))
    if "u2q" in entry.models:
        wrote = ", ".join(hints.cached_list(ctx, entry, user)[: hints.SHOWN]) or "-"
        console.print(Text(f"AIGQ-Direct wrote: {wrote}"), soft_wrap=True)
    with console.status("ranking all sources"):
        ranked = hints.ranking_rows(ctx, entry, user, served, at)
    console.print(as_table(ranked, box=None))


def print_lookup(ctx: "Context", triggers: list[str], day: date | None) -> None:
    """What the release's index holds for each trigger."""
    from aigq_tasks.reports import hints

    preflight(("s3", "valkey"), ctx)
    entry = hints.serving_entry(ctx, day)
    rows = hints.lookup_rows(ctx, entry, triggers)
    console = Console(width=LOG_WIDTH)
    console.print(f"release {entry.number} ({entry.day}, {entry.verdict})")
    console.print(as_table(rows, box=None))


def print_releases(ctx: "Context") -> None:
    """The ledger and the shelf."""
    preflight(("s3",), ctx)
    Console(width=WIDE).print(as_table(ledger.ledger_rows(ctx)))


def print_release(ctx: "Context", number: int) -> None:
    """All that a release was made of."""
    preflight(("s3",), ctx)
    entry = ctx.ledger.entry(number)
    console = Console(width=WIDE)
    console.print(f"release {number}")
    console.print(as_table(ledger.fact_rows(entry), show_header=False, box=None))
    console.print(as_table(ledger.model_rows(ctx, entry), title="models"))
    console.print(as_table(ledger.stage_rows(ctx, entry), title="what the day ran"))


def print_difference(ctx: "Context", old: int, new: int, whole: bool) -> None:
    """What changed from release `old` to release `new`, a table for each kind of thing; what is
    equal and what is bound to differ are counted, or told too where the `whole` is asked for."""
    from aigq_tasks.reports.difference import KINDS, compared, rows, told

    preflight(("s3",), ctx)
    found = compared(ctx, ctx.ledger.entry(old), ctx.ledger.entry(new))
    shown = found if whole else told(found)
    console = Console(width=WIDE)
    for kind in KINDS:
        if of_kind := rows(shown, kind, old, new):
            console.print(as_table(of_kind, title=kind, title_justify="left", box=None))
    equal = sum(not one.differs for one in found)
    hint = "" if whole else "; --all tells everything"
    console.print(f"{len(found) - equal} differ{_untold(found, shown)}, {equal} are equal{hint}")


def _untold(found: Sequence["Compared"], shown: Sequence["Compared"]) -> str:
    """How many of each kind differ and are not shown, in words; "" for none."""
    differing, seen = (Counter(one.kind for one in of if one.differs) for of in (found, shown))
    counted = " and ".join(f"{number} {kind}" for kind, number in (differing - seen).items())
    return f" ({counted} not told)" if counted else ""


def print_plan(steps: Sequence["PlannedStep"], whole: bool) -> None:
    """The days on which something would run, a line for each; all steps of them where the `whole`
    is asked for. What is up to date is counted."""
    from aigq_tasks.reports.plan import day_rows, due, step_rows

    rows = step_rows(steps) if whole else day_rows(steps)
    console = Console(width=WIDE)
    if rows:
        console.print(as_table(rows, one_line=not whole, box=None))
    up_to_date = sum(not step.why for step in steps)
    more = "" if whole or not rows else "; --all tells why for each"
    console.print(f"{len(due(steps))} to run, {up_to_date} up to date{more}")
    for step in steps:
        if step.blocked:
            console.print(Text(f"it would stop at {step.stage} of {step.day}: {step.why}"))


def print_verdicts(verdicts: Sequence["VerdictReport"]) -> str:
    """Every figure with its bound, then the reasons. Returns them without the figures."""
    console = Console(width=LOG_WIDTH)
    for verdict in verdicts:
        console.print(Text(verdict.title))
        if verdict.checks:
            console.print(as_table(verdict.checks))
        for reason in verdict.reasons:
            console.print(Text(f"- {reason}"))
    return "\n".join(verdict.words for verdict in verdicts)
