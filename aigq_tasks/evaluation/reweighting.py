"""The hints that production showed, reweighted to another ranking (`offpolicy` estimates from it).

The other ranking is one of the same users by the same exposure. Each slot is judged as if it alone
had been drawn from that ranking, the slots above it as they are. So no weight is a product over a
page, and the rare candidates that production could not show are covered by the click model.

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
from aigq_tasks.recall.exposure import page_chances

# (users, queries, positions from 1 on), n each -> click probabilities (n,)
ClickModel = Callable[[Sequence[str], Sequence[str], NDArray[np.int64]], NDArray[np.float64]]
NUMBERS = ("clicks", "logged", "other", "expected", "expected_shown")


def reweighted(
    shown: pd.DataFrame, ranking: pd.DataFrame, click: ClickModel, exposure: Exposure
) -> pd.DataFrame:
    """user_id and the arrays of `offpolicy.estimate`, one row per shown hint.

    Left out are hints below one that the other ranking could not have shown there: what it would
    put under such a page is not defined. That depends on the slots above, never on the click.

    shown: hint_impressions; positions are any numbers from 1, and every page counts as one of as
    many slots as the longest has (SLOTS at least). ranking: of `HintStack.rank`, the other one.
    click: of that day.
    """
    users = np.sort(ranking["user_id"].unique())
    shown = shown[shown["user_id"].isin(users)].reset_index(drop=True)
    if shown.empty:
        return pd.DataFrame({"user_id": pd.Series(dtype="str")} | {n: np.empty(0) for n in NUMBERS})
    slots = max(SLOTS, int(shown["position"].max()))
    user_of = np.searchsorted(users, ranking["user_id"].to_numpy())
    candidate = ranking["rank"].to_numpy() - 1
    scores = np.zeros((len(users), candidate.max() + 1))
    scores[user_of, candidate] = ranking["rank_score"]
    valid = np.zeros(scores.shape, dtype=bool)
    valid[user_of, candidate] = True
    predicted = np.zeros((len(users), slots, scores.shape[1]))
    for position in range(1, slots + 1):
        positions = np.full(len(ranking), position)
        clicks = click(ranking["user_id"].tolist(), ranking["query"].tolist(), positions)
        predicted[user_of, position - 1, candidate] = clicks
    place = ranking[["user_id", "query"]].assign(column=ranking["rank"] - 1)
    column = shown[["user_id", "query"]].merge(place, "left")["column"].fillna(-1).to_numpy(np.intp)
    page, _ = pd.factorize(shown["request_id"])
    slot = shown["position"].to_numpy() - 1
    user = np.zeros(page.max() + 1, dtype=np.intp)
    user[page] = np.searchsorted(users, shown["user_id"].to_numpy())
    chosen = np.full((len(user), slots), -1)
    chosen[page, slot] = column
    chances = page_chances(scores[user], valid[user], chosen, exposure)
    shown_column = np.maximum(column, 0)
    numbers = {
        "clicks": shown["clicked"].to_numpy(np.float64),
        "logged": shown["propensity"].to_numpy(np.float64),
        "other": np.where(column >= 0, chances[page, slot, shown_column], 0.0),
        "expected": (chances * predicted[user]).sum(axis=2)[page, slot],
        "expected_shown": np.where(column >= 0, predicted[user[page], slot, shown_column], 0.0),
    }
    defined = chances.sum(axis=2)[page, slot] > 0
    rows: pd.DataFrame = shown[["user_id"]].assign(**numbers)[defined]
    return rows.reset_index(drop=True)


def slots_of(rows: pd.DataFrame) -> ShownSlots:
    """The table of `reweighted` as arrays."""
    columns = {name: rows[name].to_numpy(np.float64) for name in NUMBERS}
    return ShownSlots(**columns, users=rows["user_id"].tolist())
