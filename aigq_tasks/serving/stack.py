"""The production stack of a release, put together from its models: recall, then click model.

The stage `logs` serves the day's requests with it, `aigq hints` answers with it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from aigq_tasks.logs.behaviours import behaviours, with_late_clicks
from aigq_tasks.pipeline.calendar import before
from aigq_tasks.pipeline.given import Given, Stored
from aigq_tasks.pipeline.reads import Logs, Read, Release
from aigq_tasks.serving.histories import BEHAVIOUR_TABLES, item_texts

if TYPE_CHECKING:
    from aigq_tasks.evaluation.category import CategoryClassifier
    from aigq_tasks.recall.stack import RecallSource, Scorer
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


@dataclass(frozen=True)
class ReleaseStack:
    """A release's recall sources and click model over the users' state at the start of a day."""

    sources: "tuple[RecallSource, ...]"
    builder: "FeatureBuilder"
    categories: "CategoryClassifier"
    click: "CtrModel | None"
    history: pd.DataFrame
    as_of: pd.Timestamp
    per_source: int

    def rank(self, users: Sequence[str]) -> pd.DataFrame:
        """user_id, rank, query, source, rank_score: what production ranks for each user."""
        from aigq_tasks.recall.stack import HintStack

        score = self._score if self.click else None
        stack = HintStack(self.sources, self.per_source, score)
        return stack.rank(users, self.history, self.as_of)

    def features(self, users: pd.Series, queries: pd.Series, positions: pd.Series) -> pd.DataFrame:
        """The click model's features of shown hints, float32, one column per feature."""
        from ctr_model.features import FEATURES

        self.categories.classify(queries.unique().tolist())
        rows = self.builder.pairs(
            users.tolist(), queries.tolist(), positions.to_numpy(dtype=np.int64)
        )
        return pd.DataFrame(rows, columns=list(FEATURES))

    def _score(self, users: Sequence[str], queries: Sequence[str]) -> "np.ndarray":
        assert self.click is not None  # noqa: S101 - rank() asks only when there is one
        return _score_pairs(self.click, self.builder, self.categories, users, queries)


def stack_of(given: Given, day: date, per_source: int, own_brand: Sequence[str]) -> ReleaseStack:
    """The stack of the release that serves the day, out of STACK_READS."""
    models = {kind: given.release(kind) for kind in STACK_KINDS if given.released(kind)}
    return release_stack(models, given.logs("before"), day, per_source, own_brand)


def release_stack(
    models: Models, logs: LogTables, day: date, per_source: int, own_brand: Sequence[str]
) -> ReleaseStack:
    """The stack of some models as it serves `day`. logs: BEHAVIOUR_TABLES up to the day before."""
    history = behaviours(logs, item_texts(models["item-texts"]))
    categories = classifier(models["categories"])
    return ReleaseStack(
        sources=recall_sources(models),
        builder=_builder(logs, history, day, categories, own_brand),
        categories=categories,
        click=click_model(models["ctr"]) if "ctr" in models else None,
        history=history,
        as_of=pd.Timestamp(day),
        per_source=per_source,
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
    """Popularity, co-click, own-history and EBR of one `recall` result, by name."""
    from aigq_tasks.recall.coclick import CoClick
    from aigq_tasks.recall.ebr import Ebr
    from aigq_tasks.recall.own_history import OwnHistory
    from aigq_tasks.recall.popularity import Popularity

    kinds = (Popularity, CoClick, OwnHistory, Ebr)
    return {kind.name: kind.from_files(recall.files(f"{kind.name}/")) for kind in kinds}


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
