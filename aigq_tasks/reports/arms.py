"""The arms over all released days, and the report that holds them beside the table of days."""

import numpy as np
import pandas as pd

from aigq_tasks.evaluation.intervals import bootstrap_mean_ci, paired_bootstrap
from aigq_tasks.evaluation.truth import headed
from aigq_tasks.messages import markdown
from aigq_tasks.pipeline.context import Context
from aigq_tasks.pipeline.reading import table
from aigq_tasks.reports.days import daily, report_rows, title
from aigq_tasks.reports.trend import TITLE, trend_rows

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
    "explored_hr_10",
    "explored_hr_30",
    "exposed_hr_10",
    "exposed_hr_30",
    "needs_10",
    "popular",
    "near_duplicates",
    "same_need",
)
NOTES = (
    "Query HR, Cate HR and Sem. Sim. go by what shoppers searched after the moment of the list. "
    "`explored_hr` is the share of clicks on explored slots that the list held, weighted by the "
    "inverse of their chance to be shown, self-normalised within a user-day. What is headed "
    "exposure-biased counts clicks on what production chose, and flatters what resembles it. Of "
    "the first ten queries: `needs_10` is the expected number of distinct needs they meet and "
    "`same_need` the share naming a need again, both by the source's own knowledge, which no model "
    "sees; `popular` is the share in the global top 30, `near_duplicates` the share like one "
    "above; `distinct_queries` counts the different ones of all users, in the mean over days."
)


def pooled_rows(ctx: Context) -> list[dict[str, str]]:
    """One row per arm over all released days: mean [95% interval] of the POOLED metrics, and the
    paired difference of IL-SFT's Query HR@30 to the arm; both by bootstrap over users, all days
    of a user together."""
    scores = _pooled(ctx, "scores").sort_values(["arm", "day", "user_id"])
    distinct = _pooled(ctx, "variety").groupby("arm")["distinct_queries"].mean()
    sft = scores[scores["arm"] == "sft"].set_index(["day", "user_id"])["query_hr_30"]
    rows = []
    for arm, of_arm in scores.groupby("arm"):
        row = {"arm": str(arm), "user-days": str(len(of_arm))}
        for metric in POOLED:
            known = of_arm[of_arm[metric].notna()]
            row[headed(metric)] = _interval(known, metric, ctx.settings.seed)
        row["distinct_queries"] = f"{distinct[arm]:.0f}"
        of_arm = of_arm[of_arm["query_hr_30"].notna()]
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
    """All tables as Markdown."""
    return (
        f"# Report\n\n{title(ctx)}. {NOTES}\n\n"
        f"{markdown(report_rows(ctx))}\n## {TITLE}\n\n{markdown(trend_rows(ctx))}\n"
        "## All days together, mean [95% interval over users]\n\n"
        f"{markdown(pooled_rows(ctx))}"
    )


def _pooled(ctx: Context, name: str) -> pd.DataFrame:
    """A table of `evaluate` of all released days, with the column day."""
    made = [(entry.day, ctx.manifests.get(entry.manifests["evaluate"])) for entry in daily(ctx)]
    return pd.concat([table(ctx, one, name).assign(day=day.isoformat()) for day, one in made])


def _interval(rows: pd.DataFrame, metric: str, seed: int) -> str:
    if rows.empty:
        return "-"
    values = rows[metric].to_numpy(np.float64)
    return str(bootstrap_mean_ci(values, rows["user_id"].tolist(), seed=seed))
