"""The table of released days."""

from collections.abc import Mapping

from aigq_tasks.errors import AigqError
from aigq_tasks.pipeline.context import Context
from aigq_tasks.storage.ledger import Entry
from aigq_tasks.storage.manifests import Manifest

DAILY = ("accepted", "rejected")  # verdicts of the daily loop's entries
# column title -> (stage, metric)
COLUMNS = {
    "CTR AUC": ("ctr", "validation/auc"),
    "mean reward": ("policy", "reward"),
    "HR@30": ("evaluate", "challenger/query_hr_30"),
    "HR@30 SFT": ("evaluate", "sft/query_hr_30"),
    "HR@30 Think": ("evaluate", "think/query_hr_30"),
    "Cate HR@30": ("evaluate", "challenger/cate_hr_30"),
    "x2q hits": ("x2q", "hit_users"),
    "HR@30 by turns": ("evaluate", "interleaved/query_hr_30"),
    "HR@30 no AIGQ": ("evaluate", "stack without AIGQ/query_hr_30"),
    "needs met": ("evaluate", "challenger/needs_10"),
    "needs met SFT": ("evaluate", "sft/needs_10"),
    "near-duplicates": ("evaluate", "challenger/near_duplicates"),
    "distinct": ("evaluate", "challenger/distinct_queries"),
}


def report_rows(ctx: Context) -> list[dict[str, str]]:
    """One row per released day of the daily loop, in ledger order: the COLUMNS, verdict and
    release number. AigqError before the first."""
    entries = daily(ctx)
    if not entries:
        raise AigqError("no day is released yet: run 'aigq demo'")
    stages = {stage for stage, _ in COLUMNS.values()}
    found = ctx.manifests.get_all(entry.manifests[stage] for entry in entries for stage in stages)
    made = ({stage: found[entry.manifests[stage]] for stage in stages} for entry in entries)
    return [_row(entry, of_day) for entry, of_day in zip(entries, made, strict=True)]


def title(ctx: Context) -> str:
    """Whose days they are, and what is measured on."""
    return f"{ctx.source.label}: held-out users of each day"


def daily(ctx: Context) -> list[Entry]:
    """The releases of the daily loop, in ledger order."""
    return [entry for entry in ctx.ledger.entries() if entry.verdict in DAILY]


def _row(entry: Entry, made: Mapping[str, Manifest]) -> dict[str, str]:
    row = {"day": entry.day.isoformat()}
    for heading, (stage, metric) in COLUMNS.items():
        value = made[stage].metrics.get(metric)
        row[heading] = "-" if value is None else f"{float(value):.4f}"
    return row | {"verdict": entry.verdict, "release": str(entry.number)}
