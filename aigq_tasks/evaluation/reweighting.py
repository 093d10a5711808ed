"""The hints that production showed, reweighted to another ranking (`offpolicy` estimates from it).

The other ranking is one of the same requests by the same exposure. Each slot is judged by itself,
by the chance with which either ranking puts a query there over all pages that it may draw: what
production showed above says nothing of what the other ranking would have. So no weight is a
product over a page, and the candidates that production could not show are left to the click model,
with their share told.

What is estimated: clicks per hint of the other ranking, if a click depends on the user, the query
and the slot, and on the rest of the page only as it does on production's pages (the item-position
model: Li et al., KDD 2018).

Only users may be in the log whose being there does not depend on what was shown: who searched
that day, not who clicked. Those who clicked would count every click and leave out many a page
without.
"""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aigq_tasks.evaluation.offpolicy import ShownSlots
from aigq_tasks.recall.config import SLOTS, Exposure
from aigq_tasks.recall.exposure import slot_chances

# (requests, queries, positions from 1 on), n each -> click probabilities (n,)
ClickModel = Callable[[Sequence[str], Sequence[str], NDArray[np.int64]], NDArray[np.float64]]
NUMBERS = ("clicks", "logged", "other", "expected", "expected_shown", "outside")


def reweighted(
    shown: pd.DataFrame,
    produced: pd.DataFrame,
    other: pd.DataFrame,
    click: ClickModel,
    exposure: Exposure,
) -> pd.DataFrame:
    """user_id and the arrays of `offpolicy.estimate`, one row per shown hint.

    shown: hint_impressions; positions are any numbers from 1, and every page counts as one of as
    many slots as the longest has (SLOTS at least). produced, other: what production ranked for
    each request (`hint_rankings`) and the other ranking; requests without either are left out, and
    so are hints that production's ranking does not hold. click: of that day.
    """
    asked = np.intersect1d(produced["request_id"].unique(), other["request_id"].unique())
    shown = shown[shown["request_id"].isin(asked)].reset_index(drop=True)
    if shown.empty:
        return pd.DataFrame({"user_id": pd.Series(dtype="str")} | {n: np.empty(0) for n in NUMBERS})
    asked = np.sort(shown["request_id"].unique())
    slots = max(SLOTS, int(shown["position"].max()))
    both = [rows[rows["request_id"].isin(asked)] for rows in (produced, other)]
    columns = pd.concat([rows[["request_id", "query"]] for rows in both]).drop_duplicates()
    columns["column"] = columns.groupby("request_id").cumcount()
    logged, wanted = (_chances(rows, columns, asked, slots, exposure) for rows in both)
    request_of = np.searchsorted(asked, columns["request_id"].to_numpy())
    predicted = np.zeros(logged.shape)
    for slot in range(slots):
        clicks = click(
            columns["request_id"].tolist(),
            columns["query"].tolist(),
            np.full(len(columns), slot + 1),
        )
        predicted[request_of, slot, columns["column"]] = clicks
    column = shown[["request_id", "query"]].merge(columns, "left")["column"].fillna(-1)
    known = column.to_numpy() >= 0
    request = np.searchsorted(asked, shown["request_id"].to_numpy())
    slot_of = shown["position"].to_numpy() - 1
    cell = (request, slot_of, np.maximum(column.to_numpy(np.intp), 0))
    numbers = {
        "clicks": shown["clicked"].to_numpy(np.float64),
        "logged": np.where(known, logged[cell], 0.0),
        "other": np.where(known, wanted[cell], 0.0),
        "expected": (wanted * predicted).sum(axis=2)[request, slot_of],
        "expected_shown": np.where(known, predicted[cell], 0.0),
        "outside": np.where(logged > 0, 0.0, wanted).sum(axis=2)[request, slot_of],
    }
    rows: pd.DataFrame = shown[["user_id"]].assign(**numbers)[numbers["logged"] > 0]
    return rows.reset_index(drop=True)


def _chances(
    ranking: pd.DataFrame,
    columns: pd.DataFrame,
    asked: NDArray[np.object_],
    slots: int,
    exposure: Exposure,
) -> NDArray[np.float64]:
    """(requests, slots, columns): `slot_chances` of a ranking, by the columns of its queries."""
    request = np.searchsorted(asked, ranking["request_id"].to_numpy())
    rank = ranking["rank"].to_numpy() - 1
    scores = np.zeros((len(asked), int(rank.max()) + 1))
    scores[request, rank] = ranking["rank_score"]
    valid = np.zeros(scores.shape, dtype=bool)
    valid[request, rank] = True
    by_rank = slot_chances(scores, valid, slots, exposure)
    chances = np.zeros((len(asked), slots, int(columns["column"].max()) + 1))
    column = ranking[["request_id", "query"]].merge(columns, "left")["column"].to_numpy()
    chances[request, :, column] = by_rank[request, :, rank]
    return chances


def slots_of(rows: pd.DataFrame) -> ShownSlots:
    """The table of `reweighted` as arrays."""
    columns = {name: rows[name].to_numpy(np.float64) for name in NUMBERS}
    return ShownSlots(**columns, users=rows["user_id"].tolist())
