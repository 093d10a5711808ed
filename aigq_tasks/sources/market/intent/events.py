"""The log tables that a day's sessions leave behind (see `logs.schema`)."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aigq_tasks.sources.market.intent.draws import Purpose, uniform
from aigq_tasks.sources.market.intent.items import items_of
from aigq_tasks.sources.market.intent.rules import FOUND
from aigq_tasks.sources.market.intent.sessions import Day

TABLES = ("searches", "item_clicks", "search_clicks")


@dataclass(frozen=True)
class Events:
    """What is done about the steps of a day if no hint is clicked. tables: each of TABLES with a
    further column `row`, the step's row; of one step there is a search (with a click on its results
    or without) or an item click. views: the item clicks (with `row`) that come in place of searches
    with such a click when a hint leads there."""

    day: Day
    tables: dict[str, pd.DataFrame]
    views: pd.DataFrame

    def left(self, met: NDArray[np.bool_], views: pd.DataFrame) -> dict[str, pd.DataFrame]:
        """The tables of the log when some steps (met, by row) were spared by clicked hints, and
        `views`, item clicks on what these led to, came in their place."""
        tables = {}
        for name, rows in self.tables.items():
            kept = rows[~met[rows["row"].to_numpy()]]
            tables[name] = kept.drop(columns="row")
        tables["item_clicks"] = pd.concat([tables["item_clicks"], views])
        return {
            name: rows.sort_values(["time", "event_id"], ignore_index=True)
            for name, rows in tables.items()
        }


def events_of(day: Day, seed: int) -> Events:
    """Of all steps of a day."""
    steps = day.steps
    number = day.sessions["number"].to_numpy()[steps["session"].to_numpy()]
    found = uniform(seed, Purpose.FOUND, number, steps["step"].to_numpy()) < FOUND
    typed = steps["typed"].to_numpy()
    rows = np.arange(len(steps))
    searches = _events(day, rows[typed], "s").assign(query=steps["today"].to_numpy()[typed])
    clicked = _events(day, rows[typed & found], "s")
    clicked["item_id"] = _items(day, rows[typed & found]).to_numpy()
    tables = {
        "searches": searches,
        "item_clicks": item_clicks(day, rows[~typed]),
        "search_clicks": clicked,
    }
    return Events(day, tables, item_clicks(day, rows[typed & found]))


def item_clicks(day: Day, rows: NDArray[np.int64]) -> pd.DataFrame:
    """The item of each of these steps is looked at, in the order of rows."""
    table = _events(day, rows, "c")
    items = _items(day, rows)
    titles = items_of(items.unique()).set_index("item_id")["title"]
    return table.assign(item_id=items.to_numpy(), title=titles.loc[items].to_numpy())


def orders(day: Day) -> pd.DataFrame:
    """The `orders` table: what each visit buys, when it ends."""
    steps = day.steps[day.steps["bought"]]
    session = steps["session"].to_numpy()
    table = pd.DataFrame(
        {
            "order_id": [f"o{n}" for n in day.sessions["number"].to_numpy()[session].tolist()],
            "user_id": day.sessions["user_id"].to_numpy()[session],
            "time": day.sessions["end"].to_numpy()[session],
            "item_id": steps["product_id"].astype(str).to_numpy(),
            "value": steps["value"].to_numpy(),
        }
    )
    return table.sort_values(["time", "order_id", "item_id"], ignore_index=True)


def _events(day: Day, rows: NDArray[np.int64], kind: str) -> pd.DataFrame:
    steps = day.steps.iloc[rows]
    session = steps["session"].to_numpy()
    number = day.sessions["number"].to_numpy()[session].tolist()
    return pd.DataFrame(
        {
            "event_id": [
                f"{kind}{n}-{k}" for n, k in zip(number, steps["step"].tolist(), strict=True)
            ],
            "user_id": day.sessions["user_id"].to_numpy()[session],
            "time": steps["time"].to_numpy(),
            "row": rows,
        }
    )


def _items(day: Day, rows: NDArray[np.int64]) -> "pd.Series[str]":
    items: pd.Series[str] = day.steps["product_id"].iloc[rows].astype(str).reset_index(drop=True)
    return items
