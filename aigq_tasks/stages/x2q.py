"""Stage `x2q`: reason over the day's users, and index what leads to what (paper 4.2, Eq 19)."""

from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import pandas as pd

from aigq_tasks.context.queries import is_allowed
from aigq_tasks.recall.x2q_source import RECENT, X2qSource
from aigq_tasks.stages.context import Context
from aigq_tasks.stages.generation import generation_config, reason, shoppers_at
from aigq_tasks.stages.reading import (
    live_entry,
    log_window,
    model,
    need,
    read_behaviours,
    read_logs,
    release_digest,
    table,
    window_digest,
)
from aigq_tasks.stages.runner import StageOutput
from aigq_tasks.stages.serving import ctr_scorer
from aigq_tasks.storage.engine import engine
from aigq_tasks.storage.manifests import Manifest
from aigq_tasks.storage.tables import to_parquet

if TYPE_CHECKING:
    from aigq_tasks.context.prompt import Shopper
    from aigq_tasks.policy.think import ParsedThink

    Reasoned = list[tuple[Shopper, ParsedThink]]

VIEW_DAYS = 14  # page views that count for a query's effect


class X2qStage:
    """trigger → queries, from what AIGQ-Think writes for who was active on the day, at its end,
    and wrote for others in the days before."""

    name = "x2q"
    needs: tuple[str, ...] = ("s3", "mlflow")

    def inputs(self, ctx: Context, day: date) -> dict[str, str]:
        return {
            "think": self.think(ctx, day).digest,
            "ctr": self.click(ctx, day).digest,
            "release": release_digest(live_entry(ctx, day)),
            "logs": window_digest(log_window(ctx, day)),
        }

    def config(self, ctx: Context) -> dict[str, Any]:
        return generation_config(ctx) | {
            "limits": ctx.settings.think.limits.model_dump(),
            **ctx.settings.x2q.model_dump(),
        }

    def think(self, ctx: Context, day: date) -> Manifest:
        """The reasoning model: that of the release which served the day."""
        return model(ctx, live_entry(ctx, day), "think")

    def click(self, ctx: Context, day: date) -> Manifest:
        """The click model that predicts for the queries: the day's."""
        return need(ctx, "ctr", day)

    def compute(self, ctx: Context, day: date) -> StageOutput:
        users = table(ctx, need(ctx, "market", day), "users")
        history = read_behaviours(ctx, log_window(ctx, day), day)
        active = history.loc[history["time"] >= pd.Timestamp(day), "user_id"].unique()
        shoppers = shoppers_at(ctx, active, users, history, day + timedelta(days=1))
        reasoned = reason(ctx, self.think(ctx, day), shoppers)
        parent = live_entry(ctx, day)
        old = model(ctx, parent, "x2q") if "x2q" in parent.models else None
        ties = ties_of(reasoned).assign(day=day.isoformat())
        if old:
            ties = merge_ties(table(ctx, old, "ties"), ties, day, ctx.settings.x2q.days)
        entries = index_of(ctx, day, ties, self.click(ctx, day))
        metrics = _metrics(entries, reasoned)
        if old:
            before = table(ctx, old, "x2q")
            metrics |= of_yesterday(before, entries, users["user_id"], history, day)
        output = {"x2q.parquet": to_parquet(entries), "ties.parquet": to_parquet(ties)}
        return StageOutput(files=output, metrics=metrics)


def index_of(ctx: Context, day: date, ties: pd.DataFrame, click: Manifest) -> pd.DataFrame:
    """trigger, rank, query, score at the end of `day`, from ties (the columns of `ties_of`, and
    day) and the click model of a `ctr` result."""
    import ibis

    from aigq_tasks.recall.x2q import x2q_entries

    scorer = ctr_scorer(ctx, live_entry(ctx, day), click, day + timedelta(days=1))
    signals = _signals(ctx, day, ties, scorer)
    with engine(ctx.settings.engine) as execute:
        tied = ibis.memtable(ties.drop(columns="day"))
        entries: pd.DataFrame = execute(x2q_entries(tied, ibis.memtable(signals), ctx.settings.x2q))
    return entries


def of_yesterday(
    old: pd.DataFrame, entries: pd.DataFrame, users: pd.Series, history: pd.DataFrame, day: date
) -> dict[str, float]:
    """How the index of the parent release fared: churn, the share of its (trigger, query) pairs
    that are gone today, and hit_users, the share of the day's users, those without any history
    included, to whom it had something to say when the day began."""
    kept = len(old.merge(entries, on=["trigger", "query"]))
    asked = X2qSource(old).recall(users.tolist(), history, pd.Timestamp(day), 1)
    return {
        "churn": round(1 - kept / max(1, len(old)), 6),
        "hit_users": round(sum(map(bool, asked.values())) / max(1, len(asked)), 6),
    }


def ties_of(reasoned: "Reasoned") -> pd.DataFrame:
    """user_id, trigger, query, place: every trigger of an interest point with every query of it
    (paper 4.2). Queries that may not be shown are left out."""
    rows = [
        (shopper.user_id, shopper.lines[trigger - 1].content, query, place)
        for shopper, parsed in reasoned
        for interest in parsed.interests.values()
        for trigger in interest.triggers
        for place, query in enumerate(interest.queries, 1)
        if is_allowed(query)
    ]
    kinds = {"user_id": "str", "trigger": "str", "query": "str", "place": "int64"}
    return pd.DataFrame(rows, columns=list(kinds)).astype(kinds)


def merge_ties(old: pd.DataFrame, fresh: pd.DataFrame, day: date, days: int) -> pd.DataFrame:
    """The ties of the users reasoned for on `day`, and of others their latest ones, where those
    are less than `days` days old. Both tables: the columns of `ties_of`, and day (YYYY-MM-DD)."""
    oldest = (day - timedelta(days=days - 1)).isoformat()
    kept = old[~old["user_id"].isin(fresh["user_id"]) & (old["day"] >= oldest)]
    order = ["user_id", "trigger", "query", "place"]
    return pd.concat([kept, fresh]).sort_values(order, ignore_index=True)


def _signals(ctx: Context, day: date, ties: pd.DataFrame, scorer: Any) -> pd.DataFrame:
    """query, views, ctr: page views of the last days, and the mean click probability that the
    day's model predicts for the users whose reasoning led to the query."""
    pairs = ties[["user_id", "query"]].drop_duplicates().sort_values(["user_id", "query"])
    predicted = pairs.assign(ctr=scorer(pairs["user_id"].tolist(), pairs["query"].tolist()))
    window = log_window(ctx, day, VIEW_DAYS)
    views = read_logs(ctx, window, ("hint_impressions",))["hint_impressions"]["query"]
    signals = predicted.groupby("query", as_index=False)["ctr"].mean()
    counted = signals["query"].map(views.value_counts()).fillna(0).astype("int64")
    known: pd.DataFrame = signals.assign(views=counted)[["query", "views", "ctr"]]
    return known


def _metrics(entries: pd.DataFrame, reasoned: "Reasoned") -> dict[str, float | str]:
    triggers = set(entries["trigger"])
    latest = [[line.content for line in shopper.lines[-RECENT:]] for shopper, _ in reasoned]
    users = max(1, len(reasoned))
    return {
        "users": float(len(reasoned)),
        "valid_outputs": round(sum(parsed.valid for _, parsed in reasoned) / users, 6),
        "triggers": float(len(triggers)),
        "entries": float(len(entries)),
        "depth_mean": round(len(entries) / max(1, len(triggers)), 4),
        "coverage": round(sum(not triggers.isdisjoint(own) for own in latest) / users, 6),
    }
