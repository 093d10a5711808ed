"""The figures of the market's card: the log of one market, replayed day by day.

History is counted from HISTORY on; rankers are fitted on requests of FITTED, the click model and
the classic mix on clicks of CHOSEN, and everything that is published is of JUDGED: no day of it is
one that the demo evaluates. What a household did before a day is taken from the log without hints,
under all arms.
"""

from collections import defaultdict
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aigq_tasks.sources.market.intent.arms import (
    SLOTS,
    Mix,
    Moment,
    Page,
    behaviours,
    classic,
    known_needs,
    oracle,
    repeated,
    serving,
)
from aigq_tasks.sources.market.intent.belonging import belonging
from aigq_tasks.sources.market.intent.clicks import focus
from aigq_tasks.sources.market.intent.config import IntentConfig
from aigq_tasks.sources.market.intent.draws import Floats, Purpose, uniform
from aigq_tasks.sources.market.intent.events import events_of
from aigq_tasks.sources.market.intent.facts import facts_of
from aigq_tasks.sources.market.intent.knowing import SEES, Log, auc, features, fitted, scores
from aigq_tasks.sources.market.intent.past import (
    Counts,
    Shopper,
    Singles,
    Strings,
    days_of,
    moves_of,
)
from aigq_tasks.sources.market.intent.reading import interpret
from aigq_tasks.sources.market.intent.rounds import replay
from aigq_tasks.sources.market.intent.rules import KNOWN_NEEDS
from aigq_tasks.sources.market.intent.sessions import Day, day_of
from aigq_tasks.sources.market.intent.visits import kept_households

if TYPE_CHECKING:
    from lightgbm import Booster

Days = tuple[date, date]
Ints = NDArray[np.int64]
_EVERY = np.arange(KNOWN_NEEDS)
HISTORY = date(2017, 7, 1)
FITTED: Days = (date(2017, 10, 1), date(2017, 10, 14))
CHOSEN: Days = (date(2017, 10, 15), date(2017, 10, 21))
JUDGED: Days = (date(2017, 10, 22), date(2017, 11, 4))
MIXES = tuple(Mix(own, after) for own in (0.3, 0.6) for after in (0.15, 0.35))
ROWS_OF_A_REQUEST = 60  # of the needs that are not to come, as many are fitted on
EXPLORED = 30  # the click model learns from pages drawn from so many first queries


@dataclass
class Known:
    """The log up to a day."""

    counts: Counts = field(default_factory=Counts)
    strings: Strings = field(default_factory=Strings)
    shoppers: dict[int, Shopper] = field(default_factory=lambda: defaultdict(Shopper))
    moves: list[pd.DataFrame] = field(default_factory=list)

    def add(self, moves: pd.DataFrame) -> None:
        """A day more."""
        self.counts.add(moves)
        self.strings.add(moves)
        households = moves["household"].to_numpy(np.int64)
        ends = np.flatnonzero(np.diff(households)) + 1
        for rows in np.split(np.arange(len(moves)), ends):
            if len(rows):
                self.shoppers[int(households[rows[0]])].add(moves.iloc[rows])
        self.moves.append(moves[["user", "session", "known", "typed", "bought", "query", "time"]])


def days_between(days: Days) -> Iterator[date]:
    """Every day from the first to the last."""
    return (days[0] + timedelta(days=n) for n in range((days[1] - days[0]).days + 1))


@dataclass(frozen=True)
class Requests:
    """Requests of some households on a day without hints, and of each the typed needs that are
    still to come: known need -> steps until it is typed."""

    moments: list[Moment]
    to_come: list[dict[int, int]]


def requests_without_hints(day: Day, seed: int) -> Requests:
    """Of all requests of a day."""
    tables = events_of(day, seed).tables
    nothing = pd.DataFrame({"user_id": [], "clicked": [], "click_time": [], "query": []})
    done = behaviours(tables | {"hint_impressions": nothing})
    need = belonging(0).row[day.steps["need"].to_numpy()]
    first = np.searchsorted(day.steps["session"].to_numpy(), np.arange(len(day.sessions)))
    count = np.diff(np.append(first, len(day.steps)))
    typed = day.steps["typed"].to_numpy()
    found = Requests([], [])
    asked = day.requests
    columns = (asked[name].tolist() for name in ("household_id", "user_id", "session", "step"))
    start = days_of(day.sessions["start"].to_numpy())
    for household, user, session, step, now in zip(
        *columns, days_of(asked["time"].to_numpy()), strict=True
    ):
        own = [one for one in done.get(user, []) if start[session] <= one.time < now]
        rows = range(first[session] + step, first[session] + count[session])
        ahead = {int(need[r]): i for i, r in enumerate(rows) if typed[r] and need[r] >= 0}
        found.moments.append(Moment(household, now, own))
        found.to_come.append(ahead)
    return found


def of_households(day: Day, households: Ints) -> Day:
    """A day on which only these see hints."""
    asked = day.requests[day.requests["household_id"].isin(households)]
    return Day(day.sessions, day.steps, asked.reset_index(drop=True))


@dataclass(frozen=True)
class Figures:
    """What the card says of one market. facts: name -> value (see `facts.facts_of`). auc: ranker ->
    mean within request over known needs not yet done. pages: arm -> its hints on JUDGED:
    household_id, user_id, request_id, day, position, clicked, meets (a need that is to come, in any
    words). mix: the classic page's."""

    facts: dict[str, float]
    auc: dict[str, float]
    pages: dict[str, pd.DataFrame]
    mix: Mix


def study(config: IntentConfig, seed: int, households: int, rankers: bool) -> Figures:
    """All of it: minutes. households: how many of the market see hints. rankers: also their AUC,
    which does not depend on wordings."""
    asked, known = kept_households(households, seed), Known()
    for day in days_between((HISTORY, FITTED[0] - timedelta(days=1))):
        known.add(moves_of(day_of(day, config, seed)))
    log = Log.of(known.counts)
    models = _fitted(log, known, config, seed, asked)
    mix, models["click model"] = _chosen(log, known, config, seed, asked)
    before = deepcopy(known.counts)
    areas: dict[str, list[float]] = {name: [] for name in SEES if rankers}
    shown: dict[str, list[pd.DataFrame]] = {}
    for day in days_between(JUDGED):
        own = day_of(day, config, seed)
        few = of_households(own, asked)
        for name, area in _areas(log, known, models, few, seed) if rankers else ():
            areas[name].append(area)
        for name, page in _arms(log, known, models["oracle"], mix).items():
            shown.setdefault(name, []).append(hints_of(few, page, seed))
        known.add(moves_of(own))
    return Figures(
        facts_of(known.moves, before, JUDGED),
        {name: float(np.nanmean(found)) for name, found in areas.items()},
        {name: pd.concat(hints, ignore_index=True) for name, hints in shown.items()},
        mix,
    )


def _fitted(
    log: Log, known: Known, config: IntentConfig, seed: int, asked: Ints
) -> dict[str, "Booster"]:
    """Rankers fitted on what a perfect hint for each need would be clicked with."""
    rows: list[Singles] = []
    target: list[Floats] = []
    for day in days_between(FITTED):
        own = day_of(day, config, seed)
        requests = requests_without_hints(of_households(own, asked), seed)
        for moment, ahead in zip(requests.moments, requests.to_come, strict=True):
            shopper = known.shoppers[moment.household]
            table = features(log, shopper, moment.household, moment.now, known_needs(moment))
            worth = np.zeros(len(table))
            worth[list(ahead)] = [focus(steps) for steps in ahead.values()]
            draw = uniform(seed, Purpose.PARTS, int(moment.now * 86_400), moment.household, _EVERY)
            kept = (worth > 0) | (draw < ROWS_OF_A_REQUEST / len(draw))
            rows.append(table[kept])
            target.append(worth[kept])
        known.add(moves_of(own))
    whole, worth = np.concatenate(rows), np.concatenate(target)
    return {
        name: fitted(whole, worth, sees) for name, sees in SEES.items() if name != "click model"
    }


def _chosen(
    log: Log, known: Known, config: IntentConfig, seed: int, asked: Ints
) -> tuple[Mix, "Booster"]:
    """The mix whose pages are clicked most, and a click model of explored pages."""
    clicks = dict.fromkeys(MIXES, 0)
    rows: list[Singles] = []
    target: list[Floats] = []
    for day in days_between(CHOSEN):
        own = day_of(day, config, seed)
        few = of_households(own, asked)
        for mix in MIXES:
            page = classic(known.strings, known.shoppers, mix)
            clicks[mix] += int(hints_of(few, page, seed)["clicked"].sum())
        seen: dict[tuple[int, float, str], Singles] = {}
        page = _watched(classic(known.strings, known.shoppers, MIXES[0]), log, known, seed, seen)
        hints = hints_of(few, page, seed)
        keys = zip(hints["household_id"], hints["now"], hints["query"], strict=True)
        for key, clicked in zip(keys, hints["clicked"], strict=True):
            if key in seen:
                rows.append(seen[key])
                target.append(np.array([float(clicked)]))
        known.add(moves_of(own))
    model = fitted(np.concatenate(rows), np.concatenate(target), SEES["click model"])
    return max(MIXES, key=lambda mix: clicks[mix]), model


def _watched(
    page: Page, log: Log, known: Known, seed: int, seen: dict[tuple[int, float, str], Singles]
) -> Page:
    """SLOTS of the first EXPLORED queries of a page, drawn evenly; the features of each go into
    `seen`, by household, time and query."""

    def explored(moment: Moment) -> list[str]:
        queries = page(moment)[:EXPLORED]
        second = int(moment.now * 86_400)
        draw = uniform(seed, Purpose.PARTS, second, moment.household, np.arange(len(queries)))
        picked = [queries[i] for i in np.argsort(draw)[:SLOTS]]
        shopper = known.shoppers[moment.household]
        table = features(log, shopper, moment.household, moment.now, known_needs(moment))
        for query in picked:
            rows = [belonging(0).row[need] for need in interpret(query)]
            if rows and rows[0] >= 0:
                seen[moment.household, moment.now, query] = table[rows[:1]]
        return picked

    return explored


def _areas(
    log: Log, known: Known, models: dict[str, "Booster"], day: Day, seed: int
) -> Iterator[tuple[str, float]]:
    """AUC of each ranker within each request of a day."""
    requests = requests_without_hints(day, seed)
    for moment, ahead in zip(requests.moments, requests.to_come, strict=True):
        shopper = known.shoppers[moment.household]
        done = known_needs(moment)
        table = features(log, shopper, moment.household, moment.now, done)
        left = np.ones(len(table), bool)
        left[done] = False
        positive = np.zeros(len(table), bool)
        positive[list(ahead)] = True
        for name, model in models.items():
            yield name, auc(scores(model, table[left], SEES[name]), positive[left])


def _arms(log: Log, known: Known, model: "Booster", mix: Mix) -> dict[str, Page]:
    """The pages that are compared."""
    return {
        "classic": classic(known.strings, known.shoppers, mix),
        "oracle": oracle(model, log, known.shoppers),
        "last searches again": repeated(known.shoppers),
    }


def hints_of(day: Day, page: Page, seed: int) -> pd.DataFrame:
    """The hints of a day under a page, see `Figures`; now: the time of the request."""
    asked = day.requests
    household_of = dict(zip(asked["user_id"], asked["household_id"], strict=True))
    shown = replay(events_of(day, seed), serving(page, household_of), seed).impressions
    now = days_of(shown["time"].to_numpy())
    place = pd.Index(asked["request_id"]).get_indexer(pd.Index(shown["request_id"]))
    session = asked["session"].to_numpy()[place]
    step = asked["step"].to_numpy()[place]
    typed = day.steps[day.steps["typed"]]
    to_come: dict[int, dict[int, int]] = {}
    for own, need, at in zip(typed["session"], typed["need"], typed["step"], strict=True):
        to_come.setdefault(own, {})[need] = at
    meets = [
        any(to_come.get(own, {}).get(need, -1) >= first for need in interpret(query))
        for own, first, query in zip(session, step, shown["query"], strict=True)
    ]
    return shown[["user_id", "request_id", "position", "query", "clicked"]].assign(
        household_id=asked["household_id"].to_numpy()[place],
        now=now,
        day=np.floor(now),
        meets=meets,
    )
