"""Time to answer the requests of a day one by one against ranking each user once, as before.

A market without servers: some days of its log are landed, the recall sources are built on them, a
click model is trained on days of hints, and the next day is answered twice in turn: every request
with what its user had done by then, in rounds, and every user once as the day begins. What counts
is the ratio of CPU times in one run, of ranking alone and with the start of the day (the stack is
put together, the log is counted).

    OMP_NUM_THREADS=1 python benchmarks/bench_requests.py --pairs 3

`--smallest` tries it out in seconds, with a market whose times say nothing.
"""

import statistics
import time
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from functools import partial
from typing import Annotated, Any, NamedTuple

import numpy as np
import pandas as pd
import typer

from aigq_tasks.evaluation.category import CategoryClassifier
from aigq_tasks.evaluation.category import train as train_categories
from aigq_tasks.logs.behaviours import behaviours, concat_days, with_late_clicks
from aigq_tasks.logs.schema import empty
from aigq_tasks.pipeline.calendar import days_between
from aigq_tasks.recall import cooccurrence, ebr, own_history, popularity
from aigq_tasks.recall.clusters import embedded
from aigq_tasks.recall.config import Candidates, ClusterConfig, EbrConfig, Exposure
from aigq_tasks.serving.requests import answering
from aigq_tasks.serving.stack import ReleaseStack, encoder, release_stack
from aigq_tasks.sources.base import Serve
from aigq_tasks.sources.market.config import MarketConfig
from aigq_tasks.sources.market.source import MarketSource
from aigq_tasks.storage.tables import from_parquet, to_parquet
from ctr_model.config import TrainConfig
from ctr_model.features import FEATURES
from ctr_model.train import train

DAY, SEED = date(2017, 10, 30), 17
LOGGED = ("searches", "item_clicks", "hint_impressions", "late_clicks")


class Size(NamedTuple):
    """households: of the market; days: of log before the launch, and of hints to train on."""

    households: int | None
    history: int
    hints: int
    clusters: int


FULL, SMALLEST = Size(None, 90, 5, 600), Size(40, 12, 4, 20)
FEATURE_TABLE, ROUNDS = "impression_features", 6


class Held:
    """A stored result, without a store."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = dict(files)

    def files(self, prefix: str = "") -> dict[str, bytes]:
        own = {n: data for n, data in self._files.items() if n.startswith(prefix)}
        return {name.removeprefix(prefix): data for name, data in own.items()}

    def table(self, name: str) -> pd.DataFrame:
        return from_parquet(self._files[f"{name}.parquet"])


class Day(NamedTuple):
    """What a served day needs. models: of the release; log: up to the day before, stacked."""

    source: MarketSource
    models: Mapping[str, Any]
    log: Mapping[str, pd.DataFrame]
    day: date

    def ranker(self) -> ReleaseStack:
        return release_stack(self.models, self.log, self.day, Candidates(), ("store brand",))


def landed(source: MarketSource, day: date, serve: Serve | None) -> dict[str, pd.DataFrame]:
    """The tables of a day, those of hints empty where nobody served."""
    found = source.land(day, serve)
    return {name: empty(name) for name in LOGGED} | found


def recall_files(
    history: pd.DataFrame, as_of: pd.Timestamp, categories: CategoryClassifier, clusters: int
) -> dict[str, bytes]:
    """A `recall` result of a log, with a two-tower model of one short pass."""
    embed = encoder()
    meanings = embedded(history, as_of, embed, ClusterConfig(clusters=clusters), SEED)
    units = {"text": None, "category": categories.classify, "cluster": meanings.cluster_of}
    made: dict[str, Any] = {
        "popularity": popularity.build(history, as_of),
        "own_history": own_history.build(history, as_of),
        "ebr": ebr.train(history, as_of, EbrConfig(epochs=1), SEED)[0],
        "embedded": meanings,
    }
    for kind in cooccurrence.KINDS:
        made[kind.name] = cooccurrence.build(history, as_of, kind, units[kind.unit])
    return {
        f"{part}/{name}": data
        for part, own in made.items()
        for name, data in own.to_files().items()
    }


def served_day(size: Size) -> Day:
    """A release with a click model, and the log before DAY."""
    source = MarketSource(MarketConfig(households=size.households or 0), SEED)
    launch = DAY - timedelta(days=size.hints)
    past = days_between(launch - timedelta(days=size.history), launch - timedelta(days=1))
    days = [landed(source, day, None) for day in past]
    items = pd.concat([day["items"] for day in days]).drop_duplicates("item_id")
    categories = train_categories(zip(items["title"], items["category"], strict=True))
    texts = items[["item_id"]].assign(text=items["title"])
    models = {
        "item-texts": Held({"item_texts.parquet": to_parquet(texts.reset_index(drop=True))}),
        "categories": Held(categories.to_files()),
    }
    history = behaviours(concat_days([{n: day[n] for n in LOGGED} for day in days]), {})
    as_of = pd.Timestamp(launch)
    models["recall"] = Held(recall_files(history, as_of, categories, size.clusters))
    for day in days_between(launch, DAY - timedelta(days=1)):
        own = Day(source, models, concat_days([{n: d[n] for n in LOGGED} for d in days]), day)
        days.append(landed(source, day, answering(own.ranker(), "first", Exposure(), SEED)))
    hints = concat_days(
        [{n: day[n] for n in (*LOGGED, FEATURE_TABLE)} for day in days[-size.hints :]]
    )
    models["ctr"] = Held(click_files(hints))
    return Day(source, models, concat_days([{n: d[n] for n in LOGGED} for d in days]), DAY)


def click_files(hints: Mapping[str, pd.DataFrame]) -> dict[str, bytes]:
    """A click model of days of hints."""
    shown = with_late_clicks(hints["hint_impressions"], hints["late_clicks"])
    features = hints[FEATURE_TABLE][list(FEATURES)].to_numpy(np.float32)
    days = shown["time"].to_numpy("M8[D]")
    model = train(features, shown["clicked"].to_numpy(bool), days, TrainConfig(num_threads=1), SEED)
    print(f"click model of {len(shown)} hints: {model.training['trees']} trees")
    return model.to_files()


def by_request(stack: ReleaseStack, requests: pd.DataFrame, log: Mapping[str, pd.DataFrame]) -> int:
    """Every request in rounds, a user's first ones first."""
    serve = answering(stack, "first", Exposure(), SEED)
    rounds = requests.groupby("user_id").cumcount().clip(upper=ROUNDS - 1)
    return sum(len(serve(own, log).rankings) for _, own in requests.groupby(rounds))


def by_user(stack: ReleaseStack, requests: pd.DataFrame) -> int:
    """Each user once as the day begins; all requests are shown hints from that."""
    from aigq_tasks.recall.exposure import expose

    ranking = stack.rank(sorted(requests["user_id"].unique()))
    shown = expose(ranking, requests, Exposure(), SEED)
    stack.features(shown["user_id"], shown["query"], shown["position"])
    return len(ranking)


def cpu(work: Callable[[], Any]) -> tuple[float, Any]:
    began = time.process_time()
    done = work()
    return time.process_time() - began, done


def main(
    pairs: Annotated[int, typer.Option(help="Pairs of runs.")] = 3,
    smallest: Annotated[bool, typer.Option("--smallest", help="Try it out.")] = False,
) -> None:
    day = served_day(SMALLEST if smallest else FULL)
    asked: list[pd.DataFrame] = []
    answer = answering(day.ranker(), "first", Exposure(), SEED)

    def keep(requests: pd.DataFrame, so_far: Mapping[str, pd.DataFrame]) -> Any:
        asked.append(requests)
        return answer(requests, so_far)

    log = landed(day.source, DAY, keep)
    requests = pd.concat(asked, ignore_index=True)
    users = requests["user_id"].nunique()
    alone, whole = [], []
    for pair in range(pairs):
        cost: dict[bool, tuple[float, float]] = {}
        for each in (True, False) if pair % 2 else (False, True):
            start, stack = cpu(day.ranker)
            work = (
                partial(by_request, stack, requests, log)
                if each
                else partial(by_user, stack, requests)
            )
            spent, _ = cpu(work)
            cost[each] = (start, spent)
        alone.append(cost[True][1] / cost[False][1])
        whole.append(sum(cost[True]) / sum(cost[False]))
        print(
            f"{len(requests)} requests {cost[True][1]:.2f} s, {users} users {cost[False][1]:.2f} s"
            f" (start of the day {cost[True][0]:.2f} s, {cost[False][0]:.2f} s): {alone[-1]:.2f},"
            f" with the start {whole[-1]:.2f}"
        )
    print(
        f"median ratio {statistics.median(alone):.2f}, with the start of the day"
        f" {statistics.median(whole):.2f}"
    )


if __name__ == "__main__":
    typer.run(main)
