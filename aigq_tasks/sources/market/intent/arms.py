"""Two pages for the market's card: what a shop ranks by counting, and what an oracle would show.

`classic` mixes what is asked often, what this user asks, and what was asked after what the user
did last (texts, and categories of items), at the second of the request. `oracle` ranks needs by all
that can be known (see `knowing`) and words each as its household did last. Neither repeats what was
done in this session.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from aigq_tasks.sources.base import Serve, Served
from aigq_tasks.sources.market.intent.belonging import belonging
from aigq_tasks.sources.market.intent.catalogue import load_catalogue
from aigq_tasks.sources.market.intent.knowing import SEES, Log, features, scores
from aigq_tasks.sources.market.intent.lexicon import load_phrasings
from aigq_tasks.sources.market.intent.past import Shopper, Strings, days_of, key_of
from aigq_tasks.sources.market.intent.reading import interpret

if TYPE_CHECKING:
    from lightgbm import Booster

SLOTS = 3
SESSION_HOURS = 3.0  # what was done within these hours belongs to the session
LAST = 3  # behaviours that the classic page goes by
POPULAR = 60  # of the most asked queries are candidates
_SMOOTHING = 5.0  # of what came after a behaviour


@dataclass(frozen=True)
class Done:
    """A behaviour: when (days since the epoch), whether a text was typed or a hint clicked, the
    text or the item's category, and the need (-1 where the text names none)."""

    time: float
    typed: bool
    text: str
    need: int


@dataclass(frozen=True)
class Moment:
    """A request: its household, when (days since the epoch), and what was done in the session
    before, in the order of time."""

    household: int
    now: float
    done: Sequence[Done]


@dataclass(frozen=True)
class Mix:
    """Shares of the classic page: own queries, what came after the last behaviours; popularity has
    the rest."""

    own: float
    after: float


Page = Callable[[Moment], list[str]]


def serving(page: Page, household_of: Mapping[str, int]) -> Serve:
    """Answer requests with the first SLOTS of a page; features and rankings say nothing."""

    def serve(requests: pd.DataFrame, so_far: Mapping[str, pd.DataFrame]) -> Served:
        users = set(requests["user_id"])
        done = behaviours(
            {name: rows[rows["user_id"].isin(users)] for name, rows in so_far.items()}
        )
        asked = (requests["request_id"], requests["user_id"], days_of(requests["time"].to_numpy()))
        hints: list[tuple[str, int, str]] = []
        for request, user, now in zip(*asked, strict=True):
            earliest = now - SESSION_HOURS / 24
            session = [own for own in done.get(user, []) if earliest <= own.time < now]
            queries = page(Moment(household_of[user], now, session))[:SLOTS]
            hints += [(request, place, text) for place, text in enumerate(queries, 1)]
        shown = pd.DataFrame(hints, columns=["request_id", "position", "query"])
        shown = requests[["request_id", "user_id", "time"]].merge(shown, on="request_id")
        ranked = shown.rename(columns={"position": "rank"}).drop(columns="time")
        return Served(shown, ranked, shown[["request_id", "position"]])

    return serve


def behaviours(so_far: Mapping[str, pd.DataFrame]) -> dict[str, list[Done]]:
    """user -> what the tables of a day tell, in the order of time."""
    hints = so_far["hint_impressions"]
    clicked = hints[hints["clicked"].to_numpy(bool)]
    typed = [
        (so_far["searches"], "time"),
        (clicked, "click_time"),
    ]
    rows: list[tuple[str, Done]] = []
    for table, moment in typed:
        columns = table["user_id"], days_of(table[moment].to_numpy()), table["query"]
        for user, time, text in zip(*columns, strict=True):
            rows.append((user, Done(time, True, text, next(iter(interpret(text)), -1))))
    views = so_far["item_clicks"]
    columns = views["user_id"], days_of(views["time"].to_numpy()), views["item_id"]
    for user, time, item in zip(*columns, strict=True):
        need, category = _needs_of_items()[item]
        rows.append((user, Done(time, False, category, need)))
    found: dict[str, list[Done]] = {}
    for user, own in sorted(rows, key=lambda row: (row[0], row[1].time, row[1].text)):
        found.setdefault(user, []).append(own)
    return found


def classic(strings: Strings, shoppers: Mapping[int, Shopper], mix: Mix) -> Page:
    """The page of a shop that counts texts."""
    total = sum(strings.asked.values())
    popular = [query for query, _ in strings.asked.most_common(POPULAR)]
    sums = {key: sum(counts.values()) for key, counts in strings.after.items()}

    def page(moment: Moment) -> list[str]:
        own = shoppers[moment.household].queries
        keys = [key_of(done.typed, done.text, done.text) for done in moment.done[-LAST:]]
        score: dict[str, float] = defaultdict(float)
        for query in popular:
            score[query] += (1 - mix.own - mix.after) * strings.asked[query] / total
        for query, count in own.items():
            score[query] += mix.own * count / own.total()
        for key in keys:
            for query, count in strings.after.get(key, Counter()).items():
                score[query] += mix.after / len(keys) * count / (sums[key] + _SMOOTHING)
        known = {done.text for done in moment.done if done.typed}
        order = sorted(score, key=lambda query: (-score[query], query))
        return [query for query in order if query not in known]

    return page


def oracle(model: "Booster", log: Log, shoppers: Mapping[int, Shopper]) -> Page:
    """The page of one who knows all but what comes."""
    common = np.flatnonzero(belonging(0).row >= 0)
    need_of = common[np.argsort(belonging(0).row[common])]

    def page(moment: Moment) -> list[str]:
        shopper = shoppers[moment.household]
        done = known_needs(moment)
        rows = features(log, shopper, moment.household, moment.now, done)
        score = scores(model, rows, SEES["oracle"])
        score[done] = -np.inf
        best: list[int] = np.argsort(-score, kind="stable")[:SLOTS].tolist()
        return [shopper.words.get(need) or load_phrasings()[need_of[need]][0] for need in best]

    return page


def repeated(shoppers: Mapping[int, Shopper]) -> Page:
    """What this session searched last, then what the household did: whoever counts clicks alone
    might be pleased by it."""

    def page(moment: Moment) -> list[str]:
        last = [done.text for done in reversed(moment.done) if done.typed]
        own = [query for query, _ in shoppers[moment.household].queries.most_common(SLOTS)]
        return list(dict.fromkeys([*last, *own]))

    return page


def known_needs(moment: Moment) -> list[int]:
    """Rows among the known needs of what was done, in the order of time, each once."""
    row = belonging(0).row
    rows = (int(row[done.need]) for done in moment.done if done.need >= 0)
    return list(dict.fromkeys(known for known in rows if known >= 0))


@cache
def _needs_of_items() -> Mapping[str, tuple[int, str]]:
    """item_id -> its need and category."""
    products, needs = load_catalogue().products, load_catalogue().needs
    need = products["need"].to_numpy()
    categories = needs["category"].to_numpy()[need]
    items = products["product_id"].astype(str)
    return dict(zip(items, zip(need.tolist(), categories, strict=True), strict=True))
