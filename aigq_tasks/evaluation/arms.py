"""The arms of an evaluation: how what each one offers the held-out users is scored.

A list is held against the truths of `evaluation.truth`: what its user searched after the moment of
the list, clicks on explored slots, and, headed exposure-biased, all that was searched or clicked.
Every arm sees that user's behaviours before D only, and no compared model was trained with any row
of a held-out user's D (see `samples.holdout`). So no label leaks into any arm.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd

from aigq_tasks.context.prompt import Shopper
from aigq_tasks.evaluation import metrics, variety
from aigq_tasks.evaluation.truth import (
    FIRST,
    Needs,
    Truths,
    distinct_needs,
    explored_hit,
    same_need,
)
from aigq_tasks.recall.stack import Scorer

COLD_EVENTS = 10  # a user with fewer behaviours before the day is cold

Lists = dict[str, list[str]]


@dataclass(frozen=True)
class Case:
    """What the evaluation of a day asks: the truths, and what is known before the day.

    shoppers: one per user of the truths. history: behaviours of everybody.
    """

    day: date
    truths: Truths
    shoppers: list[Shopper]
    history: pd.DataFrame

    @property
    def truth(self) -> metrics.Truth:
        """The primary one: what each user searched after the moment of the list."""
        return self.truths.searched

    @property
    def users(self) -> list[str]:
        """Whom lists are asked for, sorted."""
        return self.truths.users


def by_turns(first: Lists, second: Lists, length: int) -> Lists:
    """Of each user of both the lists by turns, the first one's best query first, none twice; a
    list that ends leaves its turns to the other. At most `length` queries."""
    lists = {}
    for user in sorted(first.keys() & second.keys()):
        turns = [iter(first[user]), iter(second[user])]
        taken: dict[str, None] = {}
        while turns and len(taken) < length:
            turn = turns.pop(0)
            query = next((query for query in turn if query not in taken), None)
            if query is not None:
                taken[query] = None
                turns.append(turn)
        lists[user] = list(taken)
    return lists


def score_arms(
    case: Case,
    lists: Mapping[str, Lists],
    valid: Mapping[str, Mapping[str, bool]],
    classify: metrics.Classify,
    embed: metrics.Embed,
    needs: Needs | None,
) -> pd.DataFrame:
    """One row per (arm, user), NaN where a truth has nothing of the user:

    - by what was searched after the moment of the list: query_hr_10, query_hr_30, cate_hr_30,
      sem_sim, and query_hr_30 within each segment;
    - by clicks on explored slots: explored_hr_10, explored_hr_30;
    - by all that was searched or clicked, which exposure biases: exposed_hr_10, exposed_hr_30;
    - of the list itself: valid, unique_cates (of 30); of its first FIRST popular (share in the
      global top), near_duplicates (share like one above), and by the source's own needs same_need
      (share naming a need again) and needs_10 (expected number of distinct needs met).

    Args:
        lists: arm -> user -> queries, best first.
        valid: arm -> user -> was the list written well-formed; arms that no policy writes are not
            there.
        needs: which needs of the day queries meet; None: nobody knows.
    """
    moment = pd.Timestamp(case.day)
    segments = metrics.need_segments(case.truth, case.history, moment) | metrics.user_segments(
        case.truth, case.history, moment, min_events=COLD_EVENTS
    )
    users, top = case.users, variety.global_top(case.history)
    known = _known(users, case.truths, needs)
    frames = []
    for arm in sorted(lists):
        listed = {user: lists[arm].get(user, []) for user in users}
        first = variety.first_of(listed, users)
        frame = pd.DataFrame({"arm": arm, "user_id": users})
        searched = {
            "query_hr_10": metrics.query_hit(listed, case.truth, 10),
            "query_hr_30": metrics.query_hit(listed, case.truth, 30),
            "cate_hr_30": metrics.category_hit(listed, case.truth, 30, classify),
            "sem_sim": metrics.semantic_similarity(listed, case.truth, 30, embed),
        }
        for name, values in searched.items():
            frame[name] = _of(case.truth, values, users)
        frame["unique_cates"] = metrics.unique_categories(listed, 30, classify)
        frame["valid"] = _valid(users, listed, valid.get(arm))
        for name, inside in sorted(segments.items()):
            frame[f"query_hr_30/{name}"] = _of(inside, metrics.query_hit(listed, inside, 30), users)
        for k in (10, 30):
            frame[f"explored_hr_{k}"] = explored_hit(listed, case.truths.explored, users, k)
            exposed = metrics.query_hit(listed, case.truths.exposed, k)
            frame[f"exposed_hr_{k}"] = _of(case.truths.exposed, exposed, users)
        frame["popular"] = variety.popular_share(first, users, top)
        frame["near_duplicates"] = variety.near_duplicates(first, users, embed)
        frame["same_need"], frame["needs_10"] = _by_needs(first, users, known, needs)
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def behaviour_scores(case: Case, lists: Mapping[str, Lists], scorer: Scorer) -> pd.DataFrame:
    """arm, user_id, and what the alarms look at (see `evaluation.alarms`): proxy (mean predicted
    click probability of the first FIRST queries), length, copied, off_catalogue."""
    logged = set(case.history["content"])
    held = {one.user_id: {line.content for line in one.lines} for one in case.shoppers}
    written = [
        (arm, user, of_users.get(user, []))
        for arm, of_users in sorted(lists.items())
        for user in case.users
    ]
    pairs = sorted({(user, query) for _, user, queries in written for query in queries[:FIRST]})
    scores = scorer([u for u, _ in pairs], [q for _, q in pairs]) if pairs else np.empty(0)
    clicks = dict(zip(pairs, scores.tolist(), strict=True))
    rows = [
        {
            "arm": arm,
            "user_id": user,
            "proxy": float(np.mean([clicks[user, query] for query in queries[:FIRST]] or [0.0])),
            "length": float(len(queries)),
            "copied": sum(query in held[user] for query in queries) / max(1, len(queries)),
            "off_catalogue": sum(q not in logged for q in queries) / max(1, len(queries)),
        }
        for arm, user, queries in written
    ]
    return pd.DataFrame(rows)


def scores_of(scores: pd.DataFrame, arm: str) -> pd.DataFrame:
    """The rows of one arm in user order, of a table of several arms."""
    return scores[scores["arm"] == arm].sort_values("user_id", ignore_index=True)


def _valid(
    users: Sequence[str], lists: Lists, written: Mapping[str, bool] | None
) -> metrics.Values:
    """A list may be served: the policy wrote it well-formed, and every query of it is allowed."""
    servable = metrics.valid_list({user: lists[user] for user in users}, 1)
    if written is None:
        return servable
    return servable * np.array([written.get(user, False) for user in users], dtype=np.float64)


def _of(truth: metrics.Truth, values: metrics.Values, users: Sequence[str]) -> "pd.Series[float]":
    """Values over `metrics.scored_users(truth)` as values over users, NaN for the others."""
    scored = pd.Series(values, metrics.scored_users(truth), dtype="float64")
    return scored.reindex(pd.Index(users)).reset_index(drop=True)


def _known(users: Sequence[str], truths: Truths, needs: Needs | None) -> set[str]:
    """Users of whose needs something is known. They are asked by queries of their own: a list may
    be empty."""
    if needs is None:
        return set()
    asked = [(user, query) for user in users for query in sorted(truths.exposed.get(user, set()))]
    met = needs([user for user, _ in asked], [query for _, query in asked])
    unknown = {
        user for (user, _), one in zip(asked, met, strict=True) if np.isnan([*one.values()]).any()
    }
    return set(users) - unknown


def _by_needs(
    first: Lists, users: Sequence[str], known: set[str], needs: Needs | None
) -> tuple[metrics.Values, metrics.Values]:
    """same_need and needs_10 of `score_arms`, (users,) each. known: of `_known`."""
    if needs is None:
        return np.full(len(users), np.nan), np.full(len(users), np.nan)
    pairs = [(user, query) for user in users for query in first[user]]
    met = iter(needs([user for user, _ in pairs], [query for _, query in pairs]))
    of_users = {user: [next(met) for _ in first[user]] for user in users}
    again = np.array([same_need(of_users[user]) for user in users])
    distinct = [distinct_needs(of_users[user]) if user in known else np.nan for user in users]
    return again, np.array(distinct)
