"""Replay the hints of a day in rounds: who is shown what, who clicks, and what that spares.

A click changes what is searched later in the session, and so what later hints can know. Round r
holds each household's r-th request of the day; whoever serves is given the day so far. The draws
depend on the seed, the session, the step and the position or the need, never on what is shown: the
same sessions under two arms share them, and that is the A/B test.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aigq_tasks.errors import AigqError
from aigq_tasks.logs.schema import empty
from aigq_tasks.sources.base import Serve, Served
from aigq_tasks.sources.market.intent.draws import Purpose, log_normal, uniform
from aigq_tasks.sources.market.intent.events import Events
from aigq_tasks.sources.market.intent.pages import Pages
from aigq_tasks.sources.market.intent.rules import EARLIER_HOURS, LOOK_SIGMA, LOOKED_AGAIN
from aigq_tasks.sources.market.intent.sessions import ASKED_BEFORE

KEY = ["request_id", "position"]
_ASKED = ["request_id", "user_id", "time"]  # what whoever serves is told


@dataclass(frozen=True)
class Replayed:
    """A day with hints. impressions: the exposures plus clicked and click_time as known at the end
    of the day, by time, request and position; features: row by row with them; rankings: in the
    order of the requests. late: request_id, position, click_time of the clicks that came after the
    day. met: by step, whether a clicked hint spared it; by: request_id, position, row (the step) of
    those hints. views: item clicks on what they led to."""

    impressions: pd.DataFrame
    features: pd.DataFrame
    rankings: pd.DataFrame
    late: pd.DataFrame
    met: NDArray[np.bool_]
    by: pd.DataFrame
    views: pd.DataFrame


def replay(events: Events, serve: Serve, seed: int) -> Replayed:
    """Have the day's requests answered round by round. AigqError if what was served lacks the
    features of a hint."""
    requests = events.day.requests
    day = DaySoFar(events, seed)
    rankings: list[pd.DataFrame] = []
    for turn in range(int(requests["turn"].max()) + 1 if len(requests) else 0):
        asked = requests[requests["turn"] == turn].reset_index(drop=True)
        served = serve(asked[_ASKED], day.tables(turn))
        day.see(asked, served)
        rankings.append(served.rankings)
    impressions = pd.concat(day.shown).sort_values(["time", *KEY], ignore_index=True)
    return Replayed(
        impressions,
        features_of(impressions, pd.concat(day.features)),
        _in_order_of(requests, pd.concat(rankings)),
        pd.concat(day.late).sort_values(["click_time", *KEY], ignore_index=True),
        day.met,
        pd.concat(day.by, ignore_index=True),
        pd.concat(day.views, ignore_index=True),
    )


class DaySoFar:
    """What happened until now on a day that is replayed; it grows round by round. met, and the
    lists shown, features, late, by, views: the parts of `Replayed`."""

    def __init__(self, events: Events, seed: int) -> None:
        self.events, self.seed = events, seed
        self.pages = Pages(events.day, seed)
        self.met = np.zeros(len(events.day.steps), bool)
        self.shown: list[pd.DataFrame] = []
        self.features: list[pd.DataFrame] = []
        self.late = [empty("late_clicks")]
        self.by: list[pd.DataFrame] = []
        self.views = [empty("item_clicks")]
        turns = turns_of_steps(events)
        self.log = {
            name: (rows.drop(columns="row"), rows["row"].to_numpy(), turns[rows["row"].to_numpy()])
            for name, rows in events.tables.items()
        }

    def tables(self, turn: int) -> Mapping[str, pd.DataFrame]:
        """The log of what happened before each household's request of this turn, and on the whole
        day of those who have none left."""
        tables = {}
        for name, (rows, row, turns) in self.log.items():
            tables[name] = rows[(turns <= turn) & ~self.met[row]]
        views = [tables["item_clicks"], *(own for own in self.views if len(own))]
        tables["item_clicks"] = pd.concat(views, ignore_index=True)
        shown = self.shown or [empty("hint_impressions")]
        return tables | {"hint_impressions": pd.concat(shown, ignore_index=True)}

    def see(self, requests: pd.DataFrame, served: Served) -> None:
        """The shoppers look at the pages of one round, from the top."""
        page = served.exposures.sort_values(["time", *KEY], ignore_index=True)
        asked = pd.Index(requests["request_id"]).get_indexer(pd.Index(page["request_id"]))
        session = requests["session"].to_numpy()[asked]
        step, position = requests["step"].to_numpy()[asked], page["position"].to_numpy(np.int64)
        clicked, row = self.pages.clicks(page["query"].tolist(), session, step, position, self.met)
        time = page["time"].to_numpy()
        moment, later = self._when(session, step, position, time, row)
        self.features.append(served.features)
        self.shown.append(self._known(page, clicked, moment))
        now = clicked & (row >= 0) & ~later
        self.met[row[now]] = True
        self.by.append(page.loc[now, KEY].assign(row=row[now]))
        self._view(row[now], moment[now])

    def _view(self, row: NDArray[np.int64], moment: "NDArray[np.datetime64]") -> None:
        """The items that clicked hints lead to, a second later, in place of a search's."""
        place = pd.Index(self.events.views["row"]).get_indexer(pd.Index(row))
        view = self.events.views.iloc[place[place >= 0]].drop(columns="row")
        time = moment[place >= 0] + np.timedelta64(1, "s")
        self.views.append(view.assign(time=time))

    def _when(
        self,
        session: NDArray[np.int64],
        step: NDArray[np.int64],
        position: NDArray[np.int64],
        time: "NDArray[np.datetime64]",
        row: NDArray[np.int64],
    ) -> "tuple[NDArray[np.datetime64], NDArray[np.bool_]]":
        """When each hint would be clicked, and whether that is only after the session: of the
        hints clicked while somebody looks around (R4), LOOKED_AGAIN are clicked when she comes
        back to the page, LogN(ln 12 h, 1) later, and spare her nothing now."""
        number = self.events.day.sessions["number"].to_numpy()[session]
        seconds, late, after = (
            uniform(self.seed, purpose, number, step, position)
            for purpose in (Purpose.CLICK_TIME, Purpose.LATE, Purpose.LATER)
        )
        looking = self.events.day.sessions["looking"].to_numpy()[session]
        later = looking & (row >= 0) & (late < LOOKED_AGAIN)
        soon = 1 + np.floor(seconds * (ASKED_BEFORE - 2))
        delay = np.where(later, 3600 * log_normal(after, EARLIER_HOURS, LOOK_SIGMA), soon)
        return time + delay.astype("m8[s]").astype("m8[us]"), later

    def _known(
        self, page: pd.DataFrame, clicked: NDArray[np.bool_], moment: "NDArray[np.datetime64]"
    ) -> pd.DataFrame:
        """The impressions as known at the end of the day; a later click is put aside."""
        beyond = clicked & (moment.astype("M8[D]") > page["time"].to_numpy().astype("M8[D]"))
        known = clicked & ~beyond
        self.late.append(page.loc[beyond, KEY].assign(click_time=moment[beyond]))
        nothing = np.datetime64("NaT", "us")
        return page.assign(clicked=known, click_time=np.where(known, moment, nothing))


def turns_of_steps(events: Events) -> NDArray[np.int64]:
    """By step: how many requests of its household come before it on that day."""
    day = events.day
    household = day.sessions["household_id"].to_numpy()
    step = pd.DataFrame(
        {
            "household_id": household[day.steps["session"].to_numpy()],
            "time": day.steps["time"].to_numpy(),
            "row": np.arange(len(day.steps)),
        }
    )
    asked = day.requests[["household_id", "time", "turn"]]
    both = pd.merge_asof(
        step.sort_values("time", kind="stable"), asked, on="time", by="household_id"
    )
    return (both.set_index("row")["turn"].sort_index().fillna(-1) + 1).to_numpy(np.int64)


def features_of(page: pd.DataFrame, features: pd.DataFrame) -> pd.DataFrame:
    """The features of each hint, row by row. AigqError where one has none."""
    keys = pd.MultiIndex.from_frame(features[KEY])
    rows = keys.get_indexer(pd.MultiIndex.from_frame(page[KEY]))
    if (rows < 0).any():
        request, position = page[KEY].to_numpy()[rows < 0][0]
        raise AigqError(f"the hint at position {position} of request {request} has no features")
    return features.iloc[rows].reset_index(drop=True)


def _in_order_of(requests: pd.DataFrame, rankings: pd.DataFrame) -> pd.DataFrame:
    place = pd.Index(requests["request_id"]).get_indexer(pd.Index(rankings["request_id"]))
    order = np.lexsort((rankings["rank"].to_numpy(), place))
    return rankings.iloc[order].reset_index(drop=True)
