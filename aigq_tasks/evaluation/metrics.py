"""Offline metrics of hint lists against what users then searched or clicked.

Arguments the functions share:

- `lists`: user -> generated queries, best first;
- `truth`: user -> queries the user searched or clicked on the day the lists served;
- `k`: how many queries of a list count.

Every text is normalised before it is compared. A user whose truth is empty has no need to meet
and is not scored; a user with truth but no list is scored as a miss. Results are float64 arrays
with one value per user, over `scored_users(truth)` where truth is an argument and over
`sorted(lists)` where it is not.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from aigq_tasks.context.queries import is_allowed, normalize

Lists: TypeAlias = Mapping[str, Sequence[str]]
Truth: TypeAlias = Mapping[str, AbstractSet[str]]
Values: TypeAlias = npt.NDArray[np.float64]
Classify: TypeAlias = Callable[[Sequence[str]], Sequence[str]]
Embed: TypeAlias = Callable[[Sequence[str]], npt.NDArray[np.floating]]

REPEAT_DAYS = 28


def scored_users(truth: Truth) -> list[str]:
    """The users whom the truth-based metrics score, in the order of their arrays."""
    return sorted(user for user, queries in truth.items() if queries)


def query_hit(lists: Lists, truth: Truth, k: int) -> Values:
    """1.0 where one of the top k queries is a truth query, else 0.0; the mean is Query HR@k."""
    hits = [
        not set(_top(lists, user, k)).isdisjoint(_needs(truth, user))
        for user in scored_users(truth)
    ]
    return np.array(hits, dtype=np.float64)


def category_hit(lists: Lists, truth: Truth, k: int, classify: Classify) -> Values:
    """`query_hit` after both sides are mapped to leaf categories; the mean is Cate HR@k.

    `classify` gives one category per text, "" for a text it does not know: that never hits.
    """
    users = scored_users(truth)
    tops = {user: _top(lists, user, k) for user in users}
    needs = {user: _needs(truth, user) for user in users}
    category = _categories([*tops.values(), *needs.values()], classify)
    hits = [
        not _known_categories(tops[user], category).isdisjoint(
            _known_categories(needs[user], category)
        )
        for user in users
    ]
    return np.array(hits, dtype=np.float64)


def semantic_similarity(lists: Lists, truth: Truth, k: int, embed: Embed) -> Values:
    """Mean over a user's truth queries of the best cosine against the top k (0.0: no list).

    `embed` maps n texts to an (n, d) array of unit rows.
    """
    users = scored_users(truth)
    tops = {user: _top(lists, user, k) for user in users}
    needs = {user: sorted(_needs(truth, user)) for user in users}
    texts = _distinct([*tops.values(), *needs.values()])
    row = {text: i for i, text in enumerate(texts)}
    vectors = embed(texts)

    def similarity(user: str) -> float:
        if not tops[user]:
            return 0.0
        cosines = vectors[[row[q] for q in needs[user]]] @ vectors[[row[q] for q in tops[user]]].T
        return float(cosines.max(axis=1).mean())

    return np.array([similarity(user) for user in users], dtype=np.float64)


def unique_categories(lists: Lists, k: int, classify: Classify) -> Values:
    """Number of distinct known leaf categories in the top k; the mean is Unique Cates."""
    users = sorted(lists)
    tops = {user: _top(lists, user, k) for user in users}
    category = _categories(tops.values(), classify)
    counts = [len(_known_categories(tops[user], category)) for user in users]
    return np.array(counts, dtype=np.float64)


def valid_list(lists: Lists, min_queries: int) -> Values:
    """1.0 where a list may be served: at least `min_queries` queries, no two of them the same,
    each one allowed to be shown."""

    def is_valid(user: str) -> bool:
        queries = _top(lists, user, None)
        return (
            len(queries) >= min_queries
            and len(set(queries)) == len(queries)
            and all(is_allowed(query) for query in queries)
        )

    return np.array([is_valid(user) for user in sorted(lists)], dtype=np.float64)


def need_segments(
    truth: Truth, behaviours: pd.DataFrame, day: pd.Timestamp
) -> dict[str, dict[str, set[str]]]:
    """Split truth queries by the user's own history before `day` (the first instant of the day).

    `behaviours` has user_id, time, content. A query is in "repeat" when the user last met it in
    the `REPEAT_DAYS` days before `day`, in "rediscovered" when longer ago, in "new" when never.
    Each segment is a truth of its own: `query_hit(lists, segment, k)` scores just the user-days
    with at least one query in it.
    """
    queries = {user: _needs(truth, user) for user in scored_users(truth)}
    past = _before(behaviours, day, queries)
    past = past.loc[past["content"].isin(set().union(*queries.values()))]
    last_met = past.groupby(["user_id", "content"])["time"].max().to_dict()
    recent_from = day - pd.Timedelta(days=REPEAT_DAYS)

    segments: dict[str, dict[str, set[str]]] = {"repeat": {}, "rediscovered": {}, "new": {}}
    for user, needs in queries.items():
        for query in sorted(needs):
            met = last_met.get((user, query))
            age = "new" if met is None else "repeat" if met >= recent_from else "rediscovered"
            segments[age].setdefault(user, set()).add(query)
    return segments


def user_segments(
    truth: Truth, behaviours: pd.DataFrame, day: pd.Timestamp, *, min_events: int
) -> dict[str, dict[str, set[str]]]:
    """Split the truth by user: "cold" has fewer than `min_events` behaviours before `day`."""
    users = scored_users(truth)
    events = _before(behaviours, day, users)["user_id"].value_counts().to_dict()
    segments: dict[str, dict[str, set[str]]] = {"cold": {}, "warm": {}}
    for user in users:
        name = "cold" if events.get(user, 0) < min_events else "warm"
        segments[name][user] = set(truth[user])
    return segments


def _top(lists: Lists, user: str, k: int | None) -> list[str]:
    return [normalize(query) for query in lists.get(user, ())[:k]]


def _needs(truth: Truth, user: str) -> set[str]:
    return {normalize(query) for query in truth[user]}


def _distinct(groups: Iterable[Iterable[str]]) -> list[str]:
    return sorted({text for group in groups for text in group})


def _categories(groups: Iterable[Iterable[str]], classify: Classify) -> dict[str, str]:
    texts = _distinct(groups)
    return dict(zip(texts, classify(texts), strict=True))


def _known_categories(texts: Iterable[str], category: Mapping[str, str]) -> set[str]:
    return {category[text] for text in texts} - {""}


def _before(behaviours: pd.DataFrame, day: pd.Timestamp, users: Iterable[str]) -> pd.DataFrame:
    rows = (behaviours["time"] < day) & behaviours["user_id"].isin(list(users))
    return behaviours.loc[rows]
