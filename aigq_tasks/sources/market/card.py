"""The market card: what the landed days look like, and how hard the task is."""

from collections.abc import Mapping, Sequence
from datetime import date

import pandas as pd

from aigq_tasks.messages import markdown


def card(days: Sequence[date], logs: Mapping[str, pd.DataFrame], baselines: pd.DataFrame) -> str:
    """The card as Markdown.

    days: the days with hints that it is about, in order. logs: their hint_impressions, searches,
    item_clicks and late_clicks. baselines: source, segment, hr (Query HR@30), n (user-days), one
    row per source and segment.
    """
    return "\n".join([*_volumes(days, logs), *_clicks(logs["hint_impressions"]), *_hits(baselines)])


def _volumes(days: Sequence[date], logs: Mapping[str, pd.DataFrame]) -> list[str]:
    shown, searches = logs["hint_impressions"], logs["searches"]
    users = shown.groupby(shown["time"].dt.date)["user_id"].nunique().mean()
    per_day = len(days)
    means = {
        "users with a request": f"{users:.0f}",
        "hint impressions": f"{len(shown) / per_day:.0f}",
        "hint clicks": f"{shown['clicked'].sum() / per_day:.0f}",
        "searches": f"{len(searches) / per_day:.0f}",
        "item clicks": f"{len(logs['item_clicks']) / per_day:.0f}",
        "clicks after midnight": f"{len(logs['late_clicks']) / per_day:.1f}",
    }
    return [
        "# Market card",
        "",
        f"Replayed market over The Complete Journey (simulated), {days[0]} to {days[-1]}. "
        "Made by `aigq market-card`; the days that the demo evaluates are not in it.",
        "",
        markdown([{"per day": what, "mean": mean} for what, mean in means.items()]),
    ]


def _clicks(shown: pd.DataFrame) -> list[str]:
    position = shown.groupby("position")["clicked"].mean()
    source = shown["source"].value_counts(normalize=True)
    return [
        f"CTR {shown['clicked'].mean():.4f}; by position "
        + ", ".join(f"{p}: {rate:.4f}" for p, rate in position.items())
        + f"; explored {shown.loc[shown.explored, 'clicked'].mean():.4f}, "
        f"exploited {shown.loc[~shown.explored, 'clicked'].mean():.4f}.",
        "",
        "Share of exposures: " + ", ".join(f"{s} {v:.3f}" for s, v in sorted(source.items())) + ".",
        "",
    ]


def _hits(baselines: pd.DataFrame) -> list[str]:
    table = baselines.pivot_table(index="source", columns="segment", values="hr", sort=True)
    sizes = baselines.groupby("segment")["n"].max()
    rows = [
        {"source": str(source)}
        | {f"{name} ({sizes[name]})": f"{table.loc[source, name]:.3f}" for name in table.columns}
        for source in table.index
    ]
    return [
        "## Query HR@30 by what was searched, all user-days after the first click model",
        "",
        markdown(rows),
    ]
