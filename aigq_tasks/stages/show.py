"""What a person looks at: the table of days, and one user's hints."""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from aigq_tasks.context.queries import normalize
from aigq_tasks.errors import AigqError
from aigq_tasks.evaluation.intervals import bootstrap_mean_ci, paired_bootstrap
from aigq_tasks.recall import u2q, versions, x2q_source
from aigq_tasks.stages.context import Context
from aigq_tasks.stages.reading import table
from aigq_tasks.stages.release import index_version
from aigq_tasks.stages.runner import preflight
from aigq_tasks.stages.serving import load_release_stack
from aigq_tasks.storage.ledger import Entry

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
    "true click": ("evaluate", "challenger/true_click"),
    "true click SFT": ("evaluate", "sft/true_click"),
}


def report_rows(ctx: Context) -> list[dict[str, str]]:
    """One row per released day of the daily loop, in ledger order: the COLUMNS, verdict and
    release number, as text."""
    rows = []
    for entry in ctx.ledger.entries():
        if entry.verdict not in DAILY:
            continue
        row = {"day": entry.day.isoformat()}
        for title, (stage, metric) in COLUMNS.items():
            value = ctx.manifests.get(entry.manifests[stage]).metrics.get(metric)
            row[title] = "-" if value is None else f"{float(value):.4f}"
        rows.append(row | {"verdict": entry.verdict, "release": str(entry.number)})
    return rows


# What the arms are compared by, over all released days.
POOLED = (
    "query_hr_10",
    "query_hr_30",
    "query_hr_30/new",
    "query_hr_30/repeat",
    "query_hr_30/cold",
    "cate_hr_30",
    "sem_sim",
    "unique_cates",
    "true_click",
)


def pooled_rows(ctx: Context) -> list[dict[str, str]]:
    """One row per arm over all released days: mean [95% interval] of the POOLED metrics, and the
    paired difference of IL-SFT's Query HR@30 to the arm; both by bootstrap over users, all days
    of a user together."""
    scores = pd.concat(
        [
            table(ctx, ctx.manifests.get(entry.manifests["evaluate"]), "scores").assign(
                day=entry.day.isoformat()
            )
            for entry in ctx.ledger.entries()
            if entry.verdict in DAILY
        ]
    ).sort_values(["arm", "day", "user_id"])
    sft = scores[scores["arm"] == "sft"].set_index(["day", "user_id"])["query_hr_30"]
    rows = []
    for arm, own in scores.groupby("arm"):
        row = {"arm": str(arm), "user-days": str(len(own))}
        for metric in POOLED:
            row[metric] = _interval(own[own[metric].notna()], metric, ctx.settings.seed)
        difference = paired_bootstrap(
            # An arm may lack days: AIGQ-Think's challenger is not trained on every one.
            sft.loc[pd.MultiIndex.from_frame(own[["day", "user_id"]])].to_numpy(np.float64),
            own["query_hr_30"].to_numpy(np.float64),
            own["user_id"].tolist(),
            seed=ctx.settings.seed,
        )
        row["IL-SFT minus arm, HR@30"] = str(difference)
        rows.append(row)
    return rows


def _interval(rows: pd.DataFrame, metric: str, seed: int) -> str:
    if rows.empty:
        return "-"
    values = rows[metric].to_numpy(np.float64)
    return str(bootstrap_mean_ci(values, rows["user_id"].tolist(), seed=seed))


def print_report(ctx: Context, out: Path | None = None) -> None:
    """Print the table of days and, with `out`, write it with the arms' intervals as Markdown."""
    preflight(("s3",), ctx)
    rows = report_rows(ctx)
    if not rows:
        raise AigqError("no day is released yet: run 'aigq demo'")
    days = Table(*rows[0], title="Replayed market: held-out users of each day", box=None)
    for row in rows:
        days.add_row(*row.values())
    Console(width=130).print(days)
    if out is not None:
        out.write_text(
            "# Report\n\nReplayed market (simulated). Held-out users of each day; `true click` is "
            "the market's own click probability of the first ten queries, which no model sees.\n\n"
            f"{markdown(rows)}\n## All days together, mean [95% interval over users]\n\n"
            f"{markdown(pooled_rows(ctx))}"
        )
        print(f"report written to {out}")


def markdown(rows: Sequence[Mapping[str, str]]) -> str:
    """Rows with equal keys -> a Markdown table, the keys its head."""
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(list(row.values()) for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def print_hints(ctx: Context, user: str, day: date | None) -> None:
    """Print the release and the user's cached list as soon as they are read, then the ranking of
    all sources: rank, query, source, score."""
    entry = _entry(ctx, day)
    served = day or entry.day + timedelta(days=1)
    console = Console(width=100)
    console.print(_title(entry, user, served))
    if "u2q" in entry.models:
        wrote = ", ".join(cached_list(ctx, entry, user)[:10]) or "-"
        console.print(Text(f"AIGQ-Direct wrote: {wrote}"), soft_wrap=True)
    with console.status("ranking all sources"):
        ranked = load_release_stack(ctx, entry, served).rank([user])
    shown = Table("rank", "query", "source", "score", box=None)
    for row in ranked.head(10).itertuples(index=False):
        shown.add_row(str(row.rank), str(row.query), str(row.source), f"{row.rank_score:.4f}")
    console.print(shown)


def cached_list(ctx: Context, entry: Entry, user: str) -> list[str]:
    """The user's u2q list, best first, from Valkey, as serving reads it; [] without one."""
    with versions.connect(ctx.settings.valkey.url) as client:
        cached = u2q.get(client, index_version(entry, "u2q"), user)
    return [query for query, _ in cached.queries] if cached else []


def print_lookup(ctx: Context, triggers: list[str], day: date | None) -> None:
    """Print what the release's x2q index holds for each trigger, as serving reads it."""
    entry = _entry(ctx, day)
    if "x2q" not in entry.models:
        raise AigqError(f"release {entry.number} ({entry.day}) has no x2q index")
    asked = [normalize(trigger) for trigger in triggers]
    with versions.connect(ctx.settings.valkey.url) as client:
        found = x2q_source.lookup(client, index_version(entry, "x2q"), asked)
    shown = Table("trigger", "rank", "query", "score", box=None)
    for trigger, queries in found.items():
        for rank, (query, score) in enumerate(queries[:10], 1):
            shown.add_row(trigger, str(rank), query, f"{score:.4f}")
        if not queries:
            shown.add_row(trigger, "-", "not a trigger of this release", "-")
    console = Console(width=100)
    console.print(f"release {entry.number} ({entry.day}, {entry.verdict})")
    console.print(shown)


def _entry(ctx: Context, day: date | None) -> Entry:
    """The release that serves `day`, or the newest."""
    preflight(("s3", "valkey"), ctx)
    entry = ctx.ledger.current() if day is None else ctx.ledger.live_on(day)
    if entry is None:
        raise AigqError("nothing is released yet: run 'aigq demo'")
    return entry


def _title(entry: Entry, user: str, day: date) -> str:
    return f"{user} on {day} · release {entry.number} ({entry.day}, {entry.verdict})"
