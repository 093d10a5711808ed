"""The market card: what the landed days look like, and how hard the task is."""

from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path

import pandas as pd

from aigq_tasks.errors import AigqError
from aigq_tasks.stages.arms import classic_lists, held_out_case
from aigq_tasks.stages.context import Context
from aigq_tasks.stages.reading import (
    BEHAVIOUR_TABLES,
    days_between,
    launch_day,
    need,
    read_logs,
    stack_day,
)
from aigq_tasks.stages.runner import preflight


def write_card(ctx: Context, out: Path) -> None:
    """Write the card over the days from the first click model to the bootstrap day (never a day
    that the demo evaluates on)."""
    preflight(("s3",), ctx)
    last = ctx.settings.bootstrap_day
    if ctx.manifests.head("market", last) is None:
        raise AigqError("the market is not landed yet: run 'aigq demo' or 'aigq bootstrap all'")
    hint_days = days_between(launch_day(ctx), last)
    logs = read_logs(ctx, [need(ctx, "market", day) for day in hint_days], BEHAVIOUR_TABLES)
    judged = days_between(stack_day(ctx) + timedelta(days=1), last)
    out.write_text(_card(hint_days, logs, _baselines(ctx, judged)))
    print(f"market card written to {out}")


def _baselines(ctx: Context, days: list[date]) -> pd.DataFrame:
    """Query HR@30 per source and segment over all user-days of some days."""
    from aigq_tasks.evaluation.metrics import need_segments, query_hit, user_segments
    from aigq_tasks.stages.arms import COLD_EVENTS

    hits: dict[tuple[str, str], list[float]] = {}
    for day in days:
        case = held_out_case(ctx, day, everybody=True)
        moment = pd.Timestamp(day)
        segments = {"all": case.truth} | need_segments(case.truth, case.history, moment)
        segments |= user_segments(case.truth, case.history, moment, min_events=COLD_EVENTS)
        for source, lists in classic_lists(ctx, day, case).items():
            for segment, truth in segments.items():
                hits.setdefault((source, segment), []).extend(query_hit(lists, truth, 30))
    rows = [
        {"source": source, "segment": segment, "hr": sum(hit) / len(hit), "n": len(hit)}
        for (source, segment), hit in hits.items()
        if hit
    ]
    return pd.DataFrame(rows)


def _card(days: list[date], logs: Mapping[str, pd.DataFrame], baselines: pd.DataFrame) -> str:
    shown, searches = logs["hint_impressions"], logs["searches"]
    users = shown.groupby(shown["time"].dt.date)["user_id"].nunique().mean()
    per_day = len(days)
    position = shown.groupby("position")["clicked"].mean()
    source = shown["source"].value_counts(normalize=True)
    lines = [
        "# Market card",
        "",
        f"Replayed market over The Complete Journey (simulated), {days[0]} to {days[-1]}. "
        "Made by `aigq market-card`; the days that the demo evaluates are not in it.",
        "",
        "| per day | mean |",
        "|---|---|",
        f"| users with a request | {users:.0f} |",
        f"| hint impressions | {len(shown) / per_day:.0f} |",
        f"| hint clicks | {shown['clicked'].sum() / per_day:.0f} |",
        f"| searches | {len(searches) / per_day:.0f} |",
        f"| item clicks | {len(logs['item_clicks']) / per_day:.0f} |",
        f"| clicks after midnight | {len(logs['late_clicks']) / per_day:.1f} |",
        "",
        f"CTR {shown['clicked'].mean():.4f}; by position "
        + ", ".join(f"{p}: {rate:.4f}" for p, rate in position.items())
        + f"; explored {shown.loc[shown.explored, 'clicked'].mean():.4f}, "
        f"exploited {shown.loc[~shown.explored, 'clicked'].mean():.4f}.",
        "",
        "Share of exposures: " + ", ".join(f"{s} {v:.3f}" for s, v in sorted(source.items())) + ".",
        "",
        "## Query HR@30 of the sources, all user-days after the first click model",
        "",
    ]
    table = baselines.pivot_table(index="source", columns="segment", values="hr", sort=True)
    sizes = baselines.groupby("segment")["n"].max()
    lines += ["| source | " + " | ".join(f"{s} ({sizes[s]})" for s in table.columns) + " |"]
    lines += ["|---" * (len(table.columns) + 1) + "|"]
    for name, row in table.iterrows():
        lines.append(f"| {name} | " + " | ".join(f"{value:.3f}" for value in row) + " |")
    return "\n".join([*lines, ""])
