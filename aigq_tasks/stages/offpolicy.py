"""What the challenger's lists would have earned on the pages that production showed.

The other ranking is the stack that served the day, with the challenger's lists in place of its
u2q: same sources, same click model, same exposure. Each slot is judged as if it alone had been
drawn from that ranking, the slots above it as they are. So no weight is a product over a page,
and the rare candidates that production could not show are covered by the click model.

Only held-out users who searched that day count. Who searched does not depend on what was shown;
who clicked does, and taking those too would count every click and leave out many a page without.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aigq_tasks.evaluation.offpolicy import Slots
from aigq_tasks.recall import u2q
from aigq_tasks.recall.stack import SLOTS, Exposure, page_chances
from aigq_tasks.stages.context import Context
from aigq_tasks.stages.reading import live_entry, model, need, table
from aigq_tasks.stages.serving import click_model, load_release_stack

# (users, queries, positions from 1 on), n each -> click probabilities (n,)
ClickModel = Callable[[Sequence[str], Sequence[str], NDArray[np.int64]], NDArray[np.float64]]
NUMBERS = ("clicks", "logged", "other", "expected", "expected_shown")


def market_exposure(ctx: Context) -> Exposure:
    """How the market fills the slots of a page."""
    return Exposure(ctx.settings.market.exploit_top, ctx.settings.market.exploit_temperature)


def reweighted_hints(
    ctx: Context, day: date, held_out: Mapping[str, object], lists: Mapping[str, Sequence[str]]
) -> pd.DataFrame:
    """`reweighted` of the day's hints for held-out users who searched. lists: user -> queries."""
    market, entry = need(ctx, "market", day), live_entry(ctx, day)
    searched = set(table(ctx, market, "searches")["user_id"]) & set(held_out)
    shown = table(ctx, market, "hint_impressions")
    shown = shown[shown["user_id"].isin(searched)]
    stack, click = load_release_stack(ctx, entry, day), click_model(ctx, model(ctx, entry, "ctr"))
    others = [source for source in stack.sources if source.name != "u2q"]
    other = replace(stack, sources=(u2q.U2qSource(u2q.build(lists, day)), *others))

    def predict(
        users: Sequence[str], queries: Sequence[str], positions: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        columns = (pd.Series(users), pd.Series(queries), pd.Series(positions))
        return click.predict(stack.features(*columns).to_numpy(np.float32))

    ranking = other.rank(sorted(shown["user_id"].unique()))
    return reweighted(shown, ranking, predict, market_exposure(ctx))


def reweighted(
    shown: pd.DataFrame, ranking: pd.DataFrame, click: ClickModel, exposure: Exposure
) -> pd.DataFrame:
    """user_id and the arrays of `evaluation.offpolicy.estimate`, one row per shown hint.

    Left out are hints below one that the other ranking could not have shown there: what it would
    put under such a page is not defined. That depends on the slots above, never on the click.

    shown: hint_impressions. ranking: of `HintStack.rank`, the other one. click: of that day.
    """
    users = np.sort(ranking["user_id"].unique())
    shown = shown[shown["user_id"].isin(users)].reset_index(drop=True)
    if shown.empty:
        return pd.DataFrame({"user_id": pd.Series(dtype="str")} | {n: np.empty(0) for n in NUMBERS})
    user_of = np.searchsorted(users, ranking["user_id"].to_numpy())
    candidate = ranking["rank"].to_numpy() - 1
    scores = np.zeros((len(users), candidate.max() + 1))
    scores[user_of, candidate] = ranking["rank_score"]
    valid = np.zeros(scores.shape, dtype=bool)
    valid[user_of, candidate] = True
    predicted = np.zeros((len(users), SLOTS, scores.shape[1]))
    for position in range(1, SLOTS + 1):
        positions = np.full(len(ranking), position)
        clicks = click(ranking["user_id"].tolist(), ranking["query"].tolist(), positions)
        predicted[user_of, position - 1, candidate] = clicks
    place = ranking[["user_id", "query"]].assign(column=ranking["rank"] - 1)
    column = shown[["user_id", "query"]].merge(place, "left")["column"].fillna(-1).to_numpy(np.intp)
    page, _ = pd.factorize(shown["request_id"])
    slot = shown["position"].to_numpy() - 1
    user = np.zeros(page.max() + 1, dtype=np.intp)
    user[page] = np.searchsorted(users, shown["user_id"].to_numpy())
    chosen = np.full((len(user), SLOTS), -1)
    chosen[page, slot] = column
    chances = page_chances(scores[user], valid[user], chosen, exposure)
    own = np.maximum(column, 0)
    found = {
        "clicks": shown["clicked"].to_numpy(np.float64),
        "logged": shown["propensity"].to_numpy(np.float64),
        "other": np.where(column >= 0, chances[page, slot, own], 0.0),
        "expected": (chances * predicted[user]).sum(axis=2)[page, slot],
        "expected_shown": np.where(column >= 0, predicted[user[page], slot, own], 0.0),
    }
    defined = chances.sum(axis=2)[page, slot] > 0
    rows: pd.DataFrame = shown[["user_id"]].assign(**found)[defined]
    return rows.reset_index(drop=True)


def slots_of(rows: pd.DataFrame) -> Slots:
    """The table of `reweighted` as arrays."""
    columns = {name: rows[name].to_numpy(np.float64) for name in NUMBERS}
    return Slots(**columns, users=rows["user_id"].tolist())
