"""`aigq ab`: arms against each other over the same visits (paper 5.4, Table 3 and Fig. 3).

Every arm answers the same requests of a replayed log from its own release, day after day, and
learns from its own log alone; draws are common to all, so what differs is the arm. Nothing of it
is released. A result is found again by (arm, seed, day): a test resumes where it stopped.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

import pandas as pd
from rich.progress import track

from aigq_tasks.errors import AigqError
from aigq_tasks.evaluation.charts import lines_over_days
from aigq_tasks.evaluation.intervals import Interval, bootstrap_mean_ci
from aigq_tasks.evaluation.online import (
    PLANTED,
    RATIOS,
    change,
    paired,
    self_test,
    sources,
    user_days,
)
from aigq_tasks.logs.behaviours import with_late_clicks
from aigq_tasks.messages import markdown
from aigq_tasks.pipeline.calendar import days_between
from aigq_tasks.pipeline.context import Context
from aigq_tasks.pipeline.preflight import preflight
from aigq_tasks.pipeline.reading import live_entry, logs_of, model, stored
from aigq_tasks.research.arms import Arm, branch_of, find_arm, land_day, renew
from aigq_tasks.serving.stack import classifier

TABLES = ("hint_impressions", "late_clicks")


@dataclass(frozen=True)
class Outcome:
    """What an arm did. days: of `online.user_days`. sources: of `online.sources`."""

    arm: Arm
    days: pd.DataFrame
    sources: pd.DataFrame


def ab(ctx: Context, names: Sequence[str], first: date, last: date, seed: int) -> list[Outcome]:
    """Run the arms of these names from `first` to `last`; what each did, in the order given.

    AigqError for fewer than two arms, an unknown one, or a first day that no release served."""
    arms = [find_arm(name) for name in dict.fromkeys(names)]
    if len(arms) < 2:
        raise AigqError("an A/B test needs two arms or more: name each by --arm, the control first")
    preflight(("s3",), ctx)
    days = days_between(first, last)
    own = {arm.name: branch_of(ctx, arm, first, seed) for arm in arms}
    for day, arm in track([(day, arm) for day in days for arm in arms], "arms, day by day"):
        land_day(own[arm.name], arm, day, seed)
        if day < last:
            renew(own[arm.name], arm, day)
    return [_outcome(own[arm.name], arm, days) for arm in arms]


def _outcome(ctx: Context, arm: Arm, days: Sequence[date]) -> Outcome:
    logs = logs_of(ctx, days, TABLES)
    categories = classifier(stored(ctx, model(ctx, live_entry(ctx, days[0]), "categories")))
    shown = with_late_clicks(logs["hint_impressions"], logs["late_clicks"])
    return Outcome(arm, user_days(shown), sources(shown, categories.classify))


def report(outcomes: Sequence[Outcome], people: Mapping[str, str], label: str, seed: int) -> str:
    """Markdown: each arm against the first one over all days, and what each source brought.

    people: user_id -> whose interval cluster it is. label: whose days they are. seed: of the
    bootstrap behind the intervals."""
    control, *others = outcomes
    days = control.days["day"]
    return (
        f"# A/B test, {days.min()} to {days.max()}\n\n"
        f"{label}: every arm answers the same requests, draws are common to all, and each learns "
        f"from its own log. Changes are relative to `{control.arm.name}`, with 95% intervals over "
        "households. A replay cannot tell retention: a shopper comes as he came in the data, "
        "whatever he is shown.\n\n"
        + markdown([_arm_row(control, None, people, seed)])
        + "\n"
        + markdown([_arm_row(own, control, people, seed) for own in others])
        + "".join(
            _self_test(own, control, people, seed)
            for own in others
            if replace(own.arm, name="", about="", draws=0)
            == replace(control.arm, name="", about="", draws=0)
        )
        + "".join(f"\n## Sources of `{own.arm.name}`\n\n{_source_table(own)}" for own in outcomes)
    )


def _arm_row(
    own: Outcome, control: Outcome | None, people: Mapping[str, str], seed: int
) -> dict[str, str]:
    row = {
        "arm": f"`{own.arm.name}`: {own.arm.about}",
        "user-days": str(len(own.days)),
        "requests": f"{own.days['requests'].sum():.0f}",
    }
    for ratio, (over, under) in RATIOS.items():
        row[ratio] = f"{own.days[over].sum() / own.days[under].sum():.4f}"
        if control is not None:
            row[f"change of {ratio}"] = str(_change(own, control, ratio, people, seed))
    return row


def _change(
    own: Outcome, control: Outcome, ratio: str, people: Mapping[str, str], seed: int
) -> object:
    arm, base = paired(own.days, control.days)
    return change(arm, base, ratio, [people[user] for user in arm["user_id"]], seed)


def _self_test(own: Outcome, control: Outcome, people: Mapping[str, str], seed: int) -> str:
    """What two equal arms say of the test itself."""
    arm, base = paired(own.days, control.days)
    told = self_test(arm, base, [people[user] for user in arm["user_id"]], seed)
    return (
        f"\n## Equal arms: `{own.arm.name}` against `{control.arm.name}`\n\nThe interval of the "
        f"change of UCTR covers 0 in {told.covering} of {told.redraws} re-draws (arms changed "
        f"places household by household). With {PLANTED:.0%} planted the test says {told.found}.\n"
    )


def _source_table(own: Outcome) -> str:
    """PVR, CTR, and what no other source showed."""
    rows = own.sources.sort_values("pvr", ascending=False)
    return markdown(
        [
            {
                "source": str(row["source"]),
                "PVR": f"{row['pvr']:.3f}",
                "CTR": f"{row['ctr']:.4f}",
                "queries that no other source showed": str(row["unique_queries"]),
                "leaf categories likewise": str(row["unique_categories"]),
            }
            for row in rows.to_dict("records")
        ]
    )


def chart(outcomes: Sequence[Outcome], people: Mapping[str, str], label: str, seed: int) -> bytes:
    """PNG: UCTR of each arm by day, with 95% intervals over households (Fig. 3)."""
    lines: dict[str, dict[str, Interval]] = {}
    for own in outcomes:
        for day, rows in own.days.groupby("day"):
            clusters = [people[user] for user in rows["user_id"]]
            point = bootstrap_mean_ci(rows["clicking"].to_numpy(float), clusters, seed=seed)
            lines.setdefault(own.arm.name, {})[str(day)] = point
    return lines_over_days(lines, title=label, ylabel="UCTR")


def people_of(ctx: Context, outcomes: Sequence[Outcome]) -> dict[str, str]:
    """Who each user of any arm is (`Source.people`)."""
    users = sorted({user for own in outcomes for user in own.days["user_id"]})
    return dict(zip(users, ctx.source.people(users), strict=True))
