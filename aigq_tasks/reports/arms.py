"""The arms over all released days, and the report that holds them beside the table of days."""

import numpy as np
import pandas as pd

from aigq_tasks.evaluation.intervals import bootstrap_mean_ci, paired_bootstrap
from aigq_tasks.messages import markdown
from aigq_tasks.pipeline.context import Context
from aigq_tasks.pipeline.reading import table
from aigq_tasks.reports.days import daily, report_rows, title

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
            for entry in daily(ctx)
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


def report(ctx: Context) -> str:
    """Both tables as Markdown."""
    return (
        f"# Report\n\n{title(ctx)}. `true click` is the click probability of the first ten queries "
        "as the source itself knows it; no model sees it.\n\n"
        f"{markdown(report_rows(ctx))}\n## All days together, mean [95% interval over users]\n\n"
        f"{markdown(pooled_rows(ctx))}"
    )


def _interval(rows: pd.DataFrame, metric: str, seed: int) -> str:
    if rows.empty:
        return "-"
    values = rows[metric].to_numpy(np.float64)
    return str(bootstrap_mean_ci(values, rows["user_id"].tolist(), seed=seed))
