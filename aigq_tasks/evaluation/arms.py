"""The arms of an evaluation: how what each one offers the held-out users is scored.

Truth is what a held-out user searched or clicked among the hints on D. Every arm sees that user's
behaviours before D only, and no compared model was trained with any row of a held-out user's D
(see `samples.holdout`). So no label leaks into any arm.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd

from aigq_tasks.context.prompt import Shopper
from aigq_tasks.context.queries import normalize
from aigq_tasks.evaluation import metrics
from aigq_tasks.logs.behaviours import hint_clicks
from aigq_tasks.recall.stack import Scorer

COLD_EVENTS = 10  # a user with fewer behaviours before the day is cold
FIRST = 10  # queries of a list that a shopper is likely to see

Truth = dict[str, set[str]]
Lists = dict[str, list[str]]


@dataclass(frozen=True)
class Case:
    """What the evaluation of a day asks: the truth per user, and what is known before the day.

    shoppers: one per user of the truth. history: behaviours of everybody.
    """

    day: date
    truth: Truth
    shoppers: list[Shopper]
    history: pd.DataFrame


def truth_of_day(logs: Mapping[str, pd.DataFrame], day: date) -> Truth:
    """user -> normalised queries that the user searched, or clicked among the hints, on `day`.

    logs: of the day: searches, hint_impressions, late_clicks.
    """
    clicks = hint_clicks(logs)
    today = clicks["click_time"].dt.date == day
    asked = [logs["searches"][["user_id", "query"]], clicks.loc[today, ["user_id", "query"]]]
    truth: Truth = {}
    for user, query in pd.concat(asked).itertuples(index=False):
        truth.setdefault(user, set()).add(normalize(query))
    return dict(sorted(truth.items()))


def score_arms(
    case: Case,
    lists: Mapping[str, Lists],
    valid: Mapping[str, Mapping[str, bool]],
    classify: metrics.Classify,
    embed: metrics.Embed,
    truth: Scorer | None,
) -> pd.DataFrame:
    """One row per (arm, user): query_hr_10, query_hr_30, cate_hr_30, sem_sim, unique_cates,
    valid, query_hr_30 within each segment (NaN outside of it), and true_click.

    Args:
        lists: arm -> user -> queries, best first.
        valid: arm -> user -> was the list written well-formed; arms that no policy writes are not
            there.
        truth: the click probability that a query would have had on the day, NaN for users of whom
            nothing is known. true_click is its mean over the first FIRST distinct queries; a list
            that has fewer counts the missing ones as 0, so that neither a short list nor a
            repetitive one can look better. None: nobody knows it, true_click is NaN.
    """
    moment = pd.Timestamp(case.day)
    segments = metrics.need_segments(case.truth, case.history, moment) | metrics.user_segments(
        case.truth, case.history, moment, min_events=COLD_EVENTS
    )
    users = metrics.scored_users(case.truth)
    frames = []
    for arm in sorted(lists):
        listed = {user: lists[arm].get(user, []) for user in users}
        frame = pd.DataFrame(
            {
                "arm": arm,
                "user_id": users,
                "query_hr_10": metrics.query_hit(listed, case.truth, 10),
                "query_hr_30": metrics.query_hit(listed, case.truth, 30),
                "cate_hr_30": metrics.category_hit(listed, case.truth, 30, classify),
                "sem_sim": metrics.semantic_similarity(listed, case.truth, 30, embed),
                "unique_cates": metrics.unique_categories(listed, 30, classify),
                "valid": _valid(users, listed, valid.get(arm)),
            }
        )
        for name, inside in sorted(segments.items()):
            hits = pd.Series(metrics.query_hit(listed, inside, 30), metrics.scored_users(inside))
            frame[f"query_hr_30/{name}"] = frame["user_id"].map(hits).astype("float64")
        frame["true_click"] = _true_clicks(case.truth, users, listed, truth)
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
        for user in sorted(case.truth)
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


def _true_clicks(
    asked: Truth, users: Sequence[str], lists: Lists, truth: Scorer | None
) -> metrics.Values:
    """true_click of `score_arms`, (users,). asked: what each user asked for, not empty."""
    if truth is None:
        return np.full(len(users), np.nan)
    # Whom the truth knows is asked by a query of the user's own: a list may be empty.
    unknown = np.isnan(truth(users, [min(asked[user]) for user in users]))
    first = [list(dict.fromkeys(lists[user]))[:FIRST] for user in users]
    pairs = [(u, query) for u, queries in zip(users, first, strict=True) for query in queries]
    clicks = truth([u for u, _ in pairs], [query for _, query in pairs])
    ends = np.cumsum([len(queries) for queries in first], dtype=np.intp)
    sums = [part.sum() for part in np.split(clicks, ends)[:-1]]
    return np.where(unknown, np.nan, np.array(sums) / FIRST)
