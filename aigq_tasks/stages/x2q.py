"""Stage `x2q`: reason over the day's users, and index what leads to what (paper 4.2, Eq 19)."""

from datetime import date, timedelta
from typing import TYPE_CHECKING

import pandas as pd
from pydantic import Field

from aigq_tasks.context.interests import ThinkLimits
from aigq_tasks.context.queries import is_allowed
from aigq_tasks.pipeline.calendar import history, views
from aigq_tasks.pipeline.given import Given
from aigq_tasks.pipeline.reads import Logs, Release, Result, today
from aigq_tasks.pipeline.stage import Output, Slice, Stage
from aigq_tasks.recall.config import IndexConfig, X2qConfig
from aigq_tasks.recall.x2q import RECENT, X2qSource
from aigq_tasks.samples.engine import EngineName, engine
from aigq_tasks.serving.histories import BEHAVIOUR_TABLES, history_of, shoppers_at
from aigq_tasks.serving.lists import Writing, reason, writing
from aigq_tasks.serving.stack import classifier, click_scorer

if TYPE_CHECKING:
    from aigq_tasks.context.prompt import Shopper
    from aigq_tasks.policy.think import ParsedThink
    from aigq_tasks.recall.stack import Scorer

    Reasoned = list[tuple[Shopper, ParsedThink]]


class IndexSlice(Slice):
    """What becomes of the reasoning. engine: both give the same tables."""

    x2q: IndexConfig
    own_brand: tuple[str, ...]
    engine: EngineName = Field(exclude=True)


class X2qSlice(IndexSlice):
    """What is reasoned, and from how much history."""

    x2q: X2qConfig
    history_lines: int
    limits: ThinkLimits
    writing: Writing


def compute(given: Given, settings: X2qSlice, day: date) -> Output:
    """trigger → queries, from what AIGQ-Think writes for who was active on the day, at its end,
    and wrote for others in the days before."""
    users, behaviours = given.logs("today")["users"], history_of(given, "history")
    active = behaviours.loc[behaviours["time"] >= pd.Timestamp(day), "user_id"].unique()
    moment, lines = day + timedelta(days=1), settings.history_lines
    shoppers = shoppers_at(active, users, behaviours, moment, lines)
    reasoned = reason(given.release("think"), shoppers, settings.limits, settings.writing)
    ties = ties_of(reasoned).assign(day=day.isoformat())
    if given.released("x2q"):
        ties = merge_ties(given.release("x2q").table("ties"), ties, day, settings.x2q.days)
    entries = index_of(given, settings, day, ties, behaviours)
    metrics = _metrics(entries, reasoned)
    if given.released("x2q"):
        before = given.release("x2q").table("x2q")
        metrics |= of_yesterday(before, entries, users["user_id"], behaviours, day)
    return Output(tables={"x2q": entries, "ties": ties}, metrics=metrics)


def compute_rescored(given: Given, settings: IndexSlice, day: date) -> Output:
    """The release's index scored by another click model: what was reasoned stays."""
    ties = given.release("x2q").table("ties")
    entries = index_of(given, settings, day, ties, history_of(given, "history"))
    return Output(
        tables={"x2q": entries, "ties": ties},
        metrics={
            "triggers": float(entries["trigger"].nunique()),
            "entries": float(len(entries)),
        },
    )


def index_of(
    given: Given, settings: IndexSlice, day: date, ties: pd.DataFrame, behaviours: pd.DataFrame
) -> pd.DataFrame:
    """trigger, rank, query, score at the end of `day`, from ties (the columns of `ties_of`, and
    day) and the click model."""
    import ibis

    from aigq_tasks.recall.x2q import x2q_entries

    scorer = click_scorer(
        given.result("ctr"),
        classifier(given.release("categories")),
        given.logs("history"),
        behaviours,
        day + timedelta(days=1),
        settings.own_brand,
    )
    signals = _signals(given, ties, scorer)
    with engine(settings.engine) as execute:
        tied = ibis.memtable(ties.drop(columns="day"))
        entries: pd.DataFrame = execute(x2q_entries(tied, ibis.memtable(signals), settings.x2q))
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


def _signals(given: Given, ties: pd.DataFrame, scorer: "Scorer") -> pd.DataFrame:
    """query, views, ctr: page views of the last days, and the mean click probability that the
    click model predicts for the users whose reasoning led to the query."""
    pairs = ties[["user_id", "query"]].drop_duplicates().sort_values(["user_id", "query"])
    predicted = pairs.assign(ctr=scorer(pairs["user_id"].tolist(), pairs["query"].tolist()))
    viewed = given.logs("views")["hint_impressions"]["query"]
    signals = predicted.groupby("query", as_index=False)["ctr"].mean()
    counted = signals["query"].map(viewed.value_counts()).fillna(0).astype("int64")
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


_INDEXED = (
    Result("ctr"),
    Release("categories"),
    Release("item-texts"),
    Logs("history", BEHAVIOUR_TABLES, history),
    Logs("views", ("hint_impressions",), views),
)

X2Q = Stage(
    name="x2q",
    needs=("s3", "mlflow"),
    reads=(
        Release("think"),
        Release("x2q", optional=True),
        *_INDEXED,
        Logs("today", ("users",), today),
    ),
    settings=lambda settings: X2qSlice(
        x2q=settings.x2q,
        own_brand=settings.ctr.own_brand,
        engine=settings.engine,
        history_lines=settings.samples.history_lines,
        limits=settings.think.limits,
        writing=writing(settings),
    ),
    compute=compute,
)

RESCORED_X2Q = Stage(
    name="rescored-x2q",
    needs=("s3", "mlflow"),
    reads=(Release("x2q"), *_INDEXED),
    settings=lambda settings: IndexSlice(
        x2q=IndexConfig(**settings.x2q.model_dump(include=set(IndexConfig.model_fields))),
        own_brand=settings.ctr.own_brand,
        engine=settings.engine,
    ),
    compute=compute_rescored,
)
