"""The production stack of a release, put together from its models: recall, then click model.

`requests` answers with it, request by request.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aigq_tasks.errors import AigqError
from aigq_tasks.logs.behaviours import behaviours, with_late_clicks
from aigq_tasks.pipeline.calendar import before
from aigq_tasks.pipeline.given import Given, Stored
from aigq_tasks.pipeline.reads import Logs, Read, Release
from aigq_tasks.recall.config import Candidates
from aigq_tasks.serving.histories import BEHAVIOUR_TABLES, item_texts
from aigq_tasks.serving.moments import asked_of, behaviours_of, tie_columns, visit_columns

if TYPE_CHECKING:
    from aigq_tasks.evaluation.category import CategoryClassifier
    from aigq_tasks.evaluation.encoder import SentenceEncoder
    from aigq_tasks.recall.asked import Asked, Floats, Ints, Memory, RecallSource, Texts
    from aigq_tasks.recall.clusters import Embed, Embedded, Vectors
    from aigq_tasks.recall.cooccurrence import UnitOf
    from aigq_tasks.recall.stack import Scorer
    from aigq_tasks.serving.memo import PoolMemo, RowMemo
    from ctr_model.features import FeatureBuilder
    from ctr_model.model import CtrModel

LogTables = Mapping[str, pd.DataFrame]
Models = Mapping[str, Stored]  # by kind

# What a release ranks with on a day: its models, and the log up to the day before.
STACK_KINDS = ("recall", "categories", "item-texts", "ctr", "u2q", "x2q")
STACK_READS: tuple[Read, ...] = (
    *(Release(kind, optional=True) for kind in STACK_KINDS),
    Logs("before", BEHAVIOUR_TABLES, before, when=lambda moment: moment.parent is not None),
)


def _pools() -> "PoolMemo":
    from aigq_tasks.serving.memo import PoolMemo

    return PoolMemo()


def _rows() -> "RowMemo":
    from aigq_tasks.serving.memo import RowMemo

    return RowMemo()


@dataclass(frozen=True)
class ReleaseStack:
    """A release's recall sources and click model over the log up to the start of a day.

    item_texts: item id -> what shoppers call it. embed: what queries mean. pools, rows: what was
    worked out before; each stack has its own.
    """

    sources: "tuple[RecallSource, ...]"
    builder: "FeatureBuilder"
    categories: "CategoryClassifier"
    click: "CtrModel | None"
    memory: "Memory"
    item_texts: Mapping[str, str]
    day: date
    candidates: Candidates
    embed: "Embed"
    pools: "PoolMemo" = field(init=False, repr=False, default_factory=_pools)
    rows: "RowMemo" = field(init=False, repr=False, default_factory=_rows)

    def with_sources(self, names: Collection[str]) -> "ReleaseStack":
        """The same with these sources alone. AigqError for a name that it does not have."""
        unknown = set(names) - {source.name for source in self.sources}
        if unknown:
            raise AigqError(f"the stack has no source {', '.join(sorted(unknown))}")
        kept = tuple(source for source in self.sources if source.name in names)
        return replace(self, sources=kept)

    def asked(self, requests: pd.DataFrame, so_far: LogTables) -> "Answers":
        """The requests, with all that their users did before the second of each.

        requests: request_id, user_id, time. so_far: tables of the day up to the requests, rows of
        anybody; rows at or after a request's second are not read for it."""
        users = requests["user_id"].tolist()
        today = behaviours_of(so_far, users, self.item_texts)
        return Answers(self, requests, asked_of(self.memory.with_rows(today, users), requests))

    def rank(self, users: Sequence[str]) -> pd.DataFrame:
        """user_id, rank, query, source, rank_score: what production ranks for each user when the
        day begins."""
        distinct = sorted(users)
        requests = pd.DataFrame(
            {"request_id": distinct, "user_id": distinct, "time": pd.Timestamp(self.day)}
        ).astype({"request_id": "str", "user_id": "str", "time": "datetime64[us]"})
        return self.asked(requests, {}).rankings.drop(columns="request_id")

    def features(self, users: pd.Series, queries: pd.Series, positions: pd.Series) -> pd.DataFrame:
        """The click model's features of hints shown when the day begins, float32, one column per
        feature."""
        names = sorted(users.unique())
        requests = pd.DataFrame(
            {"request_id": names, "user_id": names, "time": pd.Timestamp(self.day)}
        ).astype({"request_id": "str", "user_id": "str", "time": "datetime64[us]"})
        shown = pd.DataFrame({"request_id": users, "query": queries, "position": positions})
        return self.asked(requests, {}).features(shown)


@dataclass(frozen=True)
class Answers:
    """What a release answers a batch of requests. scored: texts, keys of the pairs that the click
    model was asked for (request · texts + text, rising), and their feature rows; [] before that."""

    stack: ReleaseStack
    requests: pd.DataFrame
    asked: "Asked"
    scored: "list[tuple[Texts, Ints, NDArray[np.float32]]]" = field(default_factory=list)

    @cached_property
    def rankings(self) -> pd.DataFrame:
        """The table `hint_rankings` of the requests, in their order."""
        from aigq_tasks.recall.stack import HintStack

        own = self.stack
        score = self._score if own.click else None
        stack = HintStack(own.sources, own.candidates, score, own.embed, own.pools.pool)
        ranked = stack.ranked(self.asked)
        request = ranked.pop("request").to_numpy()
        for at, name in enumerate(("request_id", "user_id")):
            values = self.requests[name].to_numpy()[request]
            ranked.insert(at, name, pd.Series(values, dtype="str"))
        return ranked

    def features(self, shown: pd.DataFrame) -> pd.DataFrame:
        """The click model's features of shown hints at the second of their requests, float32, one
        column per feature. shown: request_id, query, position."""
        from ctr_model.features import FEATURES

        known = pd.Index(self.requests["request_id"])
        request = known.get_indexer(pd.Index(shown["request_id"])).astype(np.int64)
        rows = self._scored(request, shown["query"])
        rows[:, FEATURES.index("position")] = shown["position"].to_numpy(dtype=np.int64)
        return pd.DataFrame(rows, columns=list(FEATURES))

    def _scored(self, request: "Ints", queries: "pd.Series[str]") -> "NDArray[np.float32]":
        """Feature rows of pairs at the first position: those that were scored, where all were."""
        if self.scored:
            texts, keys, rows = self.scored[0]
            query = pd.Index(texts).get_indexer(pd.Index(queries, dtype=object))
            wanted = request * len(texts) + query
            at = np.minimum(np.searchsorted(keys, wanted), max(0, len(keys) - 1))
            if len(keys) and ((keys[at] == wanted) & (query >= 0)).all():
                found: NDArray[np.float32] = rows[at]
                return found
        query, named = pd.factorize(queries, sort=True)
        return self._rows(request, query.astype(np.int64), np.asarray(named, dtype=object))

    def _score(self, request: "Ints", query: "Ints", texts: "Texts") -> "Floats":
        assert self.stack.click is not None  # noqa: S101 - asked only when there is one
        rows = self._rows(request, query, texts)
        self.scored[:] = [(texts, request * len(texts) + query, rows)]
        return self.stack.click.predict(rows)

    def _rows(self, request: "Ints", query: "Ints", texts: "Texts") -> "NDArray[np.float32]":
        """Feature rows of pairs at the first position. What does not change within the day is built
        once for a user and a query."""
        from ctr_model.features import at_request
        from ctr_model.model import RANKING_POSITION

        own = self.stack
        user, users = pd.factorize(self.asked.user_ids)

        def pairs(users: Sequence[str], queries: Sequence[str]) -> "NDArray[np.float32]":
            return own.builder.pairs(users, queries, RANKING_POSITION)

        rows = own.rows.of(user[request], users.tolist(), query, texts.tolist(), pairs)
        visit = visit_columns(self.asked, request, query, texts, own.categories.classify)
        ties = tie_columns(own.sources, self.asked, request, query, texts)
        return at_request(rows, visit, ties, RANKING_POSITION)


def stack_of(
    given: Given, day: date, candidates: Candidates, own_brand: Sequence[str]
) -> ReleaseStack:
    """The stack of the release that serves the day, out of STACK_READS."""
    models = {kind: given.release(kind) for kind in STACK_KINDS if given.released(kind)}
    return release_stack(models, given.logs("before"), day, candidates, own_brand)


def release_stack(
    models: Models, logs: LogTables, day: date, candidates: Candidates, own_brand: Sequence[str]
) -> ReleaseStack:
    """The stack of some models as it serves `day`. logs: BEHAVIOUR_TABLES up to the day before."""
    from aigq_tasks.recall.asked import Memory

    texts = item_texts(models["item-texts"])
    history = behaviours(logs, texts)
    categories = classifier(models["categories"])
    meanings = replace(embeddings(models["recall"]), embed=encoder())
    units = {"category": categories.classify, "cluster": meanings.cluster_of}
    return ReleaseStack(
        sources=tuple(_knowing(source, units) for source in recall_sources(models)),
        builder=_builder(logs, history, day, categories, own_brand),
        categories=categories,
        click=click_model(models["ctr"]) if "ctr" in models else None,
        memory=Memory.of(history),
        item_texts=texts,
        day=day,
        candidates=candidates,
        embed=meanings.vectors,
    )


def recall_sources(models: Models) -> "tuple[RecallSource, ...]":
    """The sources of a release in a fixed order, u2q and x2q first once there are any."""
    from aigq_tasks.recall.u2q import U2qSource
    from aigq_tasks.recall.x2q import X2qSource

    generated = tuple(
        source(models[source.name].table(source.name))
        for source in (U2qSource, X2qSource)
        if source.name in models
    )
    return *generated, *classic_sources(models["recall"]).values()


def classic_sources(recall: Stored) -> "dict[str, RecallSource]":
    """The sources of one `recall` result by name. Categories and clusters are known to them of the
    contents in the log that they were counted on."""
    from aigq_tasks.recall.cooccurrence import KINDS, CoOccurrence
    from aigq_tasks.recall.ebr import Ebr
    from aigq_tasks.recall.own_history import OwnHistory
    from aigq_tasks.recall.popularity import Popularity

    counted = {kind.name: CoOccurrence.from_files(recall.files(f"{kind.name}/")) for kind in KINDS}
    kinds = (Popularity, OwnHistory, Ebr)
    sources: dict[str, RecallSource] = {
        kind.name: kind.from_files(recall.files(f"{kind.name}/")) for kind in kinds
    }
    return sources | counted


def embeddings(recall: Stored) -> "Embedded":
    """The vectors and clusters of one `recall` result."""
    from aigq_tasks.recall.clusters import Embedded

    return Embedded.from_files(recall.files("embedded/"))


def encoder() -> "Embed":
    """What embeds texts; loaded when it is first asked, in one thread."""
    loaded: list[SentenceEncoder] = []

    def embed(texts: Sequence[str]) -> "Vectors":
        import torch

        from aigq_tasks.evaluation.encoder import SentenceEncoder

        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            if not loaded:
                loaded.append(SentenceEncoder())
            return loaded[0](texts)
        finally:
            torch.set_num_threads(threads)

    return embed


def _knowing(source: "RecallSource", units: "Mapping[str, UnitOf]") -> "RecallSource":
    """A source that counts categories or clusters, told those of new texts."""
    from aigq_tasks.recall.cooccurrence import CoOccurrence

    if isinstance(source, CoOccurrence) and source.kind.unit in units:
        return replace(source, unit_of=units[source.kind.unit])
    return source


def click_model(stored: Stored) -> "CtrModel":
    """The click model that a `ctr` result holds."""
    from ctr_model.model import CtrModel

    return CtrModel.from_files(stored.files())


def classifier(stored: Stored) -> "CategoryClassifier":
    """The leaf-category classifier that a `categories` result holds."""
    from aigq_tasks.evaluation.category import CategoryClassifier

    return CategoryClassifier.from_files(stored.files())


def click_scorer(
    click: Stored,
    categories: "CategoryClassifier",
    logs: LogTables,
    history: pd.DataFrame,
    day: date,
    own_brand: Sequence[str],
) -> "Scorer":
    """(users, queries) -> p̂(click | u, q; φ) at position 1, by the model of a `ctr` result.

    The users' state is that of the start of `day`: nothing of the day itself is in it. logs:
    BEHAVIOUR_TABLES, history: the behaviours in them."""
    trained = click_model(click)
    builder = _builder(logs, history, day, categories, own_brand)
    return lambda users, queries: _score_pairs(trained, builder, categories, users, queries)


def _score_pairs(
    click: "CtrModel",
    builder: "FeatureBuilder",
    categories: "CategoryClassifier",
    users: Sequence[str],
    queries: Sequence[str],
) -> "np.ndarray":
    """Click probabilities float64 (n,) of n pairs. New queries are classified in one batch
    first: one by one that would take 25 times as long."""
    from ctr_model.model import score

    categories.classify(sorted(set(queries)))
    return score(click, builder, users, queries)


def _builder(
    logs: LogTables,
    history: pd.DataFrame,
    day: date,
    categories: "CategoryClassifier",
    own_brand: Sequence[str],
) -> "FeatureBuilder":
    from ctr_model.features import FeatureBuilder

    categories.classify(history["content"].unique().tolist())  # one batch fills the memo
    shown = with_late_clicks(logs["hint_impressions"], logs["late_clicks"])
    return FeatureBuilder.from_behaviours(
        history,
        shown,
        pd.Timestamp(day),
        own_brand,
        lambda query: categories.classify([query])[0],
    )
