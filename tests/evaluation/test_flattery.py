"""A truth that nobody can flatter, on the replayed market: what was searched after the list.

300 households, five October days, 42 days of history before them. Production is the stack of the
launch, popularity, own history and co-click by reciprocal ranks, and shows it with exploration.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest

from aigq_tasks.evaluation.arms import Lists, by_turns
from aigq_tasks.evaluation.intervals import PairedDifference, paired_bootstrap
from aigq_tasks.evaluation.metrics import Truth, query_hit, scored_users
from aigq_tasks.evaluation.truth import Truths, truths_of_day
from aigq_tasks.logs.behaviours import behaviours, concat_days
from aigq_tasks.logs.schema import empty
from aigq_tasks.recall import cooccurrence, own_history, popularity
from aigq_tasks.recall.config import Candidates, Exposure
from aigq_tasks.recall.exposure import expose
from aigq_tasks.recall.stack import HintStack
from aigq_tasks.sources.base import Serve, Served
from aigq_tasks.sources.market.clicks import interpret
from aigq_tasks.sources.market.config import MarketConfig
from aigq_tasks.sources.market.lexicon import MODIFIERS, load_phrasings
from aigq_tasks.sources.market.source import MarketSource

FIRST, DAYS, HISTORY_DAYS, LENGTH, SEED = date(2017, 10, 9), 5, 42, 30, 17
(COCLICK,) = (kind for kind in cooccurrence.KINDS if kind.name == "coclick")
AFTERNOON = pd.Timedelta(hours=15)
BY_TURNS, COPY, TOP, FIVE, RANKING = (
    *("own history and popularity by turns", "what production showed", "the global top"),
    *("five words for the best need", "production's ranking"),
)
Tables = dict[str, pd.DataFrame]


@dataclass(frozen=True)
class Judged:
    """A day: its truths at the day's start and in the afternoon, and what the arms list. repeated:
    what each user had searched by the afternoon."""

    truths: Truths
    later: Truths
    lists: Mapping[str, Lists]
    repeated: Lists


def landed(source: MarketSource, day: date, serve: Serve | None) -> Tables:
    tables = ("hint_impressions", "late_clicks", "hint_rankings")
    return {name: empty(name) for name in tables} | source.land(day, serve)


def words_for(need_of: str) -> list[str]:
    """Five queries for one need."""
    (need, *_) = interpret(need_of)[0] or (0,)
    added = [f"{need_of} {modifier}" for modifier in MODIFIERS]
    return list(dict.fromkeys([need_of, *load_phrasings()[need], *added]))[:5]


def first_rankings(log: Tables) -> pd.DataFrame:
    """`hint_rankings` of each user's first request of a day, by user and rank."""
    shown = log["hint_impressions"].sort_values(["time", "request_id"])
    first = shown.drop_duplicates("user_id")["request_id"]
    ranked = log["hint_rankings"]
    return ranked[ranked["request_id"].isin(first)].sort_values(["user_id", "rank"])


def judged(source: MarketSource, day: date, before: list[Tables]) -> tuple[Judged, Tables]:
    history, start = behaviours(concat_days(before)), pd.Timestamp(day)
    own, popular = own_history.build(history, start), popularity.build(history, start)
    coclick = cooccurrence.build(history, start, COCLICK)
    stack = HintStack((popular, own, coclick), Candidates(per_source=50, quotas=(), diversity=0.0))

    def serve(requests: pd.DataFrame, so_far: Tables) -> Served:
        ranked = stack.rank(sorted(requests["user_id"].unique()), history, start)
        ranked = requests[["request_id", "user_id"]].merge(ranked, on="user_id")
        shown = expose(ranked, requests, Exposure(), SEED).assign(release="launch")
        return Served(shown, ranked, shown[["request_id", "position"]])

    log = landed(source, day, serve)
    truths = truths_of_day(log, day)
    recalled = [one.recall(truths.users, history, start, LENGTH) for one in (own, popular)]
    mine, top = ({user: [q for q, _ in of[user]] for user in truths.users} for of in recalled)
    noon = start + AFTERNOON
    morning = log["searches"][log["searches"]["time"] < noon]
    lists = {
        BY_TURNS: by_turns(mine, top, LENGTH),
        COPY: queries_of(log["hint_impressions"].sort_values(["time", "position"])),
        TOP: top,
        FIVE: {user: words_for((mine[user] or top[user])[0]) for user in truths.users},
        RANKING: queries_of(first_rankings(log)),
    }
    later = truths_of_day(log, day, dict.fromkeys(truths.users, noon))
    return Judged(truths, later, lists, queries_of(morning)), log


def queries_of(rows: pd.DataFrame) -> Lists:
    return {str(user): list(dict.fromkeys(own)) for user, own in rows.groupby("user_id")["query"]}


@pytest.fixture(scope="module")
def days() -> list[Judged]:
    source = MarketSource(MarketConfig(households=300), SEED)
    before = [landed(source, FIRST - timedelta(days=n), None) for n in range(HISTORY_DAYS, 0, -1)]
    found = []
    for n in range(DAYS):
        day, log = judged(source, FIRST + timedelta(days=n), before)
        found.append(day)
        before.append(log)
    return found


def against_by_turns(days: list[Judged], arm: str) -> PairedDifference:
    """In Query HR@30 by what was searched."""
    truths = [day.truths.searched for day in days]
    sides = [
        np.concatenate(
            [query_hit(day.lists[name], truth, 30) for day, truth in zip(days, truths, strict=True)]
        )
        for name in (arm, BY_TURNS)
    ]
    users = [user for truth in truths for user in scored_users(truth)]
    return paired_bootstrap(*sides, users, seed=0)


@pytest.mark.parametrize("arm", [COPY, TOP, FIVE])
def test_what_flatters_is_below_two_rules_by_turns(days: list[Judged], arm: str) -> None:
    found = against_by_turns(days, arm)
    assert found.users > 100
    assert found.high < 0


def test_a_copy_of_what_was_shown_looks_as_good_by_the_biased_truth(days: list[Judged]) -> None:
    def mean(arm: str, truth_of: str) -> float:
        truths: list[Truth] = [getattr(day.truths, truth_of) for day in days]
        hits = [
            query_hit(day.lists[arm], truth, 30) for day, truth in zip(days, truths, strict=True)
        ]
        return float(np.concatenate(hits).mean())

    # By searches it has 0.61 of what the rules have, by the biased truth 0.94.
    assert mean(COPY, "searched") < 0.7 * mean(BY_TURNS, "searched")
    assert mean(COPY, "exposed") > 0.85 * mean(BY_TURNS, "exposed")


def test_what_was_searched_this_morning_is_no_hit_this_afternoon(days: list[Judged]) -> None:
    truths = [
        {user: asked for user, asked in day.later.searched.items() if user in day.repeated}
        for day in days
    ]
    pairs = list(zip(days, truths, strict=True))
    repeated = np.concatenate([query_hit(day.repeated, truth, 30) for day, truth in pairs])
    rules = np.concatenate([query_hit(day.lists[BY_TURNS], truth, 30) for day, truth in pairs])
    assert len(repeated) > 5
    assert repeated.max() == 0
    assert rules.mean() > 0.2


def test_a_whole_ranking_of_production_is_no_copy(days: list[Judged]) -> None:
    """Thirty queries that a stack ranks from the same two rules and co-click are about as good as
    the rules: what is punished is to list what was shown, not to rank as production does."""
    found = against_by_turns(days, RANKING)
    assert found.low < 0.02
    assert found.high > -0.02
