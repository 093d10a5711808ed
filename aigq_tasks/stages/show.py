"""What a person looks at: the table of days, and one user's hints."""

from datetime import date, timedelta

import pandas as pd
from rich.console import Console
from rich.table import Table

from aigq_tasks.errors import AigqError
from aigq_tasks.recall import u2q
from aigq_tasks.stages.context import Context
from aigq_tasks.stages.release import u2q_version
from aigq_tasks.stages.runner import preflight
from aigq_tasks.stages.serving import load_release_stack
from aigq_tasks.storage.ledger import Entry

# column title -> (stage, metric)
COLUMNS = {
    "CTR AUC": ("ctr", "validation/auc"),
    "mean reward": ("policy", "reward"),
    "HR@30": ("evaluate", "challenger/query_hr_30"),
    "HR@30 SFT": ("evaluate", "sft/query_hr_30"),
    "Cate HR@30": ("evaluate", "challenger/cate_hr_30"),
    "true click": ("evaluate", "challenger/true_click"),
    "true click SFT": ("evaluate", "sft/true_click"),
}


def report_rows(ctx: Context) -> list[dict[str, str]]:
    """One row per released day of the daily loop, in ledger order: the COLUMNS, verdict and
    release number, as text."""
    rows = []
    for entry in ctx.ledger.entries():
        if entry.verdict == "bootstrap":
            continue
        row = {"day": entry.day.isoformat()}
        for title, (stage, metric) in COLUMNS.items():
            value = ctx.manifests.get(entry.manifests[stage]).metrics.get(metric)
            row[title] = "-" if value is None else f"{float(value):.4f}"
        rows.append(row | {"verdict": entry.verdict, "release": str(entry.number)})
    return rows


def print_report(ctx: Context) -> None:
    """Print the table of days; says so when there is none yet."""
    preflight(("s3",), ctx)
    rows = report_rows(ctx)
    if not rows:
        raise AigqError("no day is released yet: run 'aigq demo'")
    table = Table(*rows[0], title="Replayed market: held-out users of each day", box=None)
    for row in rows:
        table.add_row(*row.values())
    Console(width=130).print(table)


def print_hints(ctx: Context, user: str, day: date | None) -> None:
    """Print the hints of one user: rank, query, source, score, and the release behind them."""
    preflight(("s3", "valkey"), ctx)
    entry = ctx.ledger.current() if day is None else ctx.ledger.live_on(day)
    if entry is None:
        raise AigqError("nothing is released yet: run 'aigq demo'")
    served = day or entry.day + timedelta(days=1)
    ranked = hints_of(ctx, entry, user, served)
    table = Table("rank", "query", "source", "score", title=_title(entry, user, served), box=None)
    for row in ranked.head(10).itertuples(index=False):
        table.add_row(str(row.rank), str(row.query), str(row.source), f"{row.rank_score:.4f}")
    Console(width=100).print(table)


def hints_of(ctx: Context, entry: Entry, user: str, day: date) -> pd.DataFrame:
    """The release's ranking for one user. Its u2q list comes from Valkey, as serving reads it."""
    if "u2q" in entry.models:
        with u2q.connect(ctx.settings.valkey.url) as client:
            cached = u2q.get(client, u2q_version(entry), user)
        if cached is None:
            print(f"user {user} has no u2q list in release {entry.number}: other sources only")
    return load_release_stack(ctx, entry, day).rank([user])


def _title(entry: Entry, user: str, day: date) -> str:
    return f"{user} on {day} · release {entry.number} ({entry.day}, {entry.verdict})"
