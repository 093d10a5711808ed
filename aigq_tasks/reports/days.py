"""The table of released days, and the arms over all of them."""

import numpy as np
import pandas as pd

from aigq_tasks.errors import AigqError
from aigq_tasks.evaluation.intervals import bootstrap_mean_ci, paired_bootstrap
from aigq_tasks.messages import markdown
from aigq_tasks.pipeline.context import Context
from aigq_tasks.pipeline.reading import table
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


def report_rows(ctx: Context) -> list[dict[str, str]]:
    """One row per released day of the daily loop, in ledger order: the COLUMNS, verdict and
    release number. AigqError before the first."""
    rows = [_row(ctx, entry) for entry in daily_entries(ctx)]
    if not rows:
        raise AigqError("no day is released yet: run 'aigq demo'")
    return rows


def pooled_rows(ctx: Context) -> list[dict[str, str]]:
    """One row per arm over all released days: mean [95% interval] of the POOLED metrics, and the
    paired difference of IL-SFT's Query HR@30 to the arm; both by bootstrap over users, all days
    of a user together."""
    scores = pd.concat(
        [
            table(ctx, ctx.manifests.get(entry.manifests["evaluate"]), "scores").assign(
                day=entry.day.isoformat()
            )
            for entry in daily_entries(ctx)
        ]
    ).sort_values(["arm", "day", "user_id"])
    sft = scores[scores["arm"] == "sft"].set_index(["day", "user_id"])["query_hr_30"]
    rows = []
    for arm, of_arm in scores.groupby("arm"):
        row = {"arm": str(arm), "user-days": str(len(of_arm))}
        for metric in POOLED:
            row[metric] = _interval(of_arm[of_arm[metric].notna()], metric, ctx.settings.seed)
        difference = paired_bootstrap(
            # An arm may lack days: AIGQ-Think's challenger is not trained on every one.
            sft.loc[pd.MultiIndex.from_frame(of_arm[["day", "user_id"]])].to_numpy(np.float64),
            of_arm["query_hr_30"].to_numpy(np.float64),
            of_arm["user_id"].tolist(),
            seed=ctx.settings.seed,
        )
        row["IL-SFT minus arm, HR@30"] = str(difference)
        rows.append(row)
    return rows


def title(ctx: Context) -> str:
    """Whose days they are, and what is measured on."""
    return f"{ctx.source.label}: held-out users of each day"


def report(ctx: Context) -> str:
    """Both tables as Markdown."""
    return (
        f"# Report\n\n{title(ctx)}. `true click` is the click probability of the first ten queries "
        "as the source itself knows it; no model sees it.\n\n"
        f"{markdown(report_rows(ctx))}\n## All days together, mean [95% interval over users]\n\n"
        f"{markdown(pooled_rows(ctx))}"
    )


def daily_entries(ctx: Context) -> list[Entry]:
    """The releases of the daily loop, in ledger order."""
    return [entry for entry in ctx.ledger.entries() if entry.verdict in DAILY]


def _row(ctx: Context, entry: Entry) -> dict[str, str]:
    row = {"day": entry.day.isoformat()}
    for heading, (stage, metric) in COLUMNS.items():
        value = ctx.manifests.get(entry.manifests[stage]).metrics.get(metric)
        row[heading] = "-" if value is None else f"{float(value):.4f}"
    return row | {"verdict": entry.verdict, "release": str(entry.number)}


def _interval(rows: pd.DataFrame, metric: str, seed: int) -> str:
    if rows.empty:
        return "-"
    values = rows[metric].to_numpy(np.float64)
    return str(bootstrap_mean_ci(values, rows["user_id"].tolist(), seed=seed))
