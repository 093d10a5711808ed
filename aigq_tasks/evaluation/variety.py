"""How varied lists are: within one, and of all users together.

Two queries are near-duplicates when the sentence encoder's cosine reaches COSINE_FLOOR, or when
they are the same words in another order. The floor was fixed on 200 pairs labelled by hand
(`tests/evaluation/query_pairs.csv`): balanced accuracy 0.77, so it is a rough measure.
"""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pandas as pd

from aigq_tasks.context.queries import normalize
from aigq_tasks.evaluation.metrics import Embed, Lists, Values
from aigq_tasks.evaluation.truth import FIRST

GLOBAL_TOP = 30  # most searched queries of all shoppers
COSINE_FLOOR = 0.60


def global_top(history: pd.DataFrame) -> set[str]:
    """The GLOBAL_TOP most searched queries of a log (ties by text). history: behaviours."""
    searched = history.loc[history["kind"] == "search", "content"].value_counts()
    ordered = sorted(searched.items(), key=lambda found: (-int(found[1]), str(found[0])))
    return {str(query) for query, _ in ordered[:GLOBAL_TOP]}


def first_of(lists: Lists, users: Sequence[str]) -> dict[str, list[str]]:
    """The first FIRST queries of each user's list, normalised."""
    return {user: [normalize(query) for query in lists.get(user, ())[:FIRST]] for user in users}


def popular_share(first: Lists, users: Sequence[str], top: Collection[str]) -> Values:
    """Share of the queries that are in `top`, (users,); 0.0 for an empty list."""
    shown = [first[user] for user in users]
    return np.array([sum(q in top for q in queries) / max(1, len(queries)) for queries in shown])


def near_duplicates(first: Lists, users: Sequence[str], embed: Embed) -> Values:
    """Share of the queries that are a near-duplicate of one above them, (users,); 0.0 for an empty
    list. embed: n texts -> (n, d) unit rows."""
    texts = sorted({query for user in users for query in first[user]})
    row = {text: i for i, text in enumerate(texts)}
    vectors = embed(texts) if texts else np.empty((0, 1))

    def share(queries: Sequence[str]) -> float:
        own = vectors[[row[query] for query in queries]]
        words = [frozenset(query.split()) for query in queries]
        equal = np.array([[one == other for other in words] for one in words], dtype=bool)
        alike = (own @ own.T >= COSINE_FLOOR) | equal.reshape(len(queries), len(queries))
        return float(np.tril(alike, -1).any(axis=1).sum()) / max(1, len(queries))

    return np.array([share(first[user]) for user in users])


def distinct_queries(lists: Mapping[str, Lists], users: Sequence[str]) -> pd.DataFrame:
    """Per arm how many different queries the first FIRST of all users hold together: arm,
    distinct_queries, users (int64 both). lists: arm -> user -> queries."""
    rows = []
    for arm in sorted(lists):
        first = first_of(lists[arm], users)
        shown = {query for queries in first.values() for query in queries}
        rows.append((arm, len(shown), len(users)))
    return pd.DataFrame(rows, columns=["arm", "distinct_queries", "users"])
