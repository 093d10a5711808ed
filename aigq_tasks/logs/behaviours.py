"""The history that everything reads: searches, item clicks and hint clicks in one table."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

import pandas as pd

from aigq_tasks.context.queries import normalize

COLUMNS = ["user_id", "time", "kind", "content"]


def behaviours(
    logs: Mapping[str, pd.DataFrame], texts: Mapping[str, str] = MappingProxyType({})
) -> pd.DataFrame:
    """user_id, time (datetime64[us]), kind ("search" | "item_click" | "hint_click"), content
    (normalised text), sorted by all four. `logs` maps table names to frames (several days);
    `texts` item ids to what shoppers call the item. An item without a text goes by its title."""
    return unsorted(logs, texts).sort_values(COLUMNS, ignore_index=True)


def unsorted(logs: Mapping[str, pd.DataFrame], texts: Mapping[str, str]) -> pd.DataFrame:
    """The rows of `behaviours` in no order."""
    clicks = logs["item_clicks"]
    named = zip(clicks["item_id"], clicks["title"], strict=True)
    called = clicks.assign(content=[texts.get(item, title) for item, title in named])
    parts = [
        _part(logs["searches"], "search", "time", "query"),
        _part(called, "item_click", "time", "content"),
        _part(hint_clicks(logs), "hint_click", "click_time", "query"),
    ]
    table = pd.concat(parts, ignore_index=True)
    unique = {text: normalize(text) for text in table["content"].unique()}
    table["content"] = table["content"].map(unique)
    return table[table["content"] != ""]


def _part(rows: pd.DataFrame, kind: str, time: str, content: str) -> pd.DataFrame:
    part = rows[["user_id", time, content]].rename(columns={time: "time", content: "content"})
    return part.assign(kind=kind)[COLUMNS]


def hint_clicks(logs: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The clicked impressions with user_id, query, time, click_time: those known at their day's
    end and those whose click arrived later."""
    shown = with_late_clicks(logs["hint_impressions"], logs["late_clicks"])
    return shown[shown["clicked"]]


def with_late_clicks(impressions: pd.DataFrame, late: pd.DataFrame) -> pd.DataFrame:
    """Impressions with `clicked` and `click_time` completed by the late clicks that belong to
    them; a late click without its impression is ignored."""
    if late.empty:
        return impressions.copy()
    keys = ["request_id", "position"]
    merged = impressions.merge(late.drop_duplicates(keys), on=keys, how="left", suffixes=("", "_l"))
    merged["clicked"] = merged["clicked"] | merged["click_time_l"].notna()
    merged["click_time"] = merged["click_time"].fillna(merged["click_time_l"])
    return merged.drop(columns="click_time_l")


def concat_days(days: Iterable[Mapping[str, pd.DataFrame]]) -> dict[str, pd.DataFrame]:
    """Stack the tables of several days, in the order given."""
    parts: dict[str, list[pd.DataFrame]] = {}
    for day in days:
        for name, rows in day.items():
            parts.setdefault(name, []).append(rows)
    return {name: pd.concat(rows, ignore_index=True) for name, rows in parts.items()}
