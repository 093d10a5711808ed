"""The production stack of a release, put together from its manifests: recall, then click model.

The market serves its home-page requests with it, `aigq hints` answers with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from aigq_tasks.logs.behaviours import behaviours, with_late_clicks
from aigq_tasks.stages.context import Context
from aigq_tasks.stages.reading import (
    BEHAVIOUR_TABLES,
    files,
    item_texts,
    log_window,
    model,
    read_logs,
    table,
)
from aigq_tasks.storage.ledger import Entry
from aigq_tasks.storage.manifests import Manifest

if TYPE_CHECKING:
    from aigq_tasks.evaluation.category import CategoryClassifier
    from aigq_tasks.recall.stack import Scorer, Source
    from ctr_model.features import FeatureBuilder
    from ctr_model.model import CtrModel


@dataclass(frozen=True)
class ReleaseStack:
    """A release's recall sources and click model over the users' state at the start of a day."""

    sources: "tuple[Source, ...]"
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
        stack = HintStack(self.sources, score, self.per_source)
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
        return score_pairs(self.click, self.builder, self.categories, users, queries)


def load_release_stack(ctx: Context, entry: Entry, day: date) -> ReleaseStack:
    """The stack of a release as it serves `day`: it knows the log up to the day before."""
    logs = read_logs(ctx, log_window(ctx, day - timedelta(days=1)), BEHAVIOUR_TABLES)
    history = behaviours(logs, item_texts(ctx, model(ctx, entry, "item-texts")))
    click = click_model(ctx, model(ctx, entry, "ctr")) if "ctr" in entry.models else None
    categories = classifier(ctx, entry)
    return ReleaseStack(
        sources=recall_sources(ctx, entry),
        builder=_builder(logs, history, day, categories),
        categories=categories,
        click=click,
        history=history,
        as_of=pd.Timestamp(day),
        per_source=ctx.settings.recall.per_source,
    )


def recall_sources(ctx: Context, entry: Entry) -> "tuple[Source, ...]":
    """The release's sources in a fixed order, u2q and x2q first once there are any."""
    from aigq_tasks.recall.u2q import U2qSource
    from aigq_tasks.recall.x2q_source import X2qSource

    generated = tuple(
        source(table(ctx, model(ctx, entry, source.name), source.name))
        for source in (U2qSource, X2qSource)
        if source.name in entry.models
    )
    return *generated, *classic_sources(ctx, model(ctx, entry, "recall")).values()


def classic_sources(ctx: Context, recall: Manifest) -> "dict[str, Source]":
    """Popularity, co-click, own-history and EBR of one `recall` result, by name."""
    from aigq_tasks.recall.coclick import CoClick
    from aigq_tasks.recall.ebr import Ebr
    from aigq_tasks.recall.own_history import OwnHistory
    from aigq_tasks.recall.popularity import Popularity

    kinds = (Popularity, CoClick, OwnHistory, Ebr)
    return {kind.name: kind.from_files(files(ctx, recall, f"{kind.name}/")) for kind in kinds}


def click_model(ctx: Context, manifest: Manifest) -> "CtrModel":
    """The click model that a `ctr` result holds."""
    from ctr_model.model import CtrModel

    return CtrModel.from_files(files(ctx, manifest))


def classifier(ctx: Context, entry: Entry) -> "CategoryClassifier":
    """The leaf-category classifier that a release was made with."""
    from aigq_tasks.evaluation.category import CategoryClassifier

    return CategoryClassifier.from_files(files(ctx, model(ctx, entry, "categories")))


def ctr_scorer(ctx: Context, entry: Entry, click: Manifest, day: date) -> "Scorer":
    """(users, queries) -> p̂(click | u, q; φ) at position 1, by the model of a `ctr` result.

    The users' state is that of the start of `day`: nothing of the day itself is in it."""
    logs = read_logs(ctx, log_window(ctx, day - timedelta(days=1)), BEHAVIOUR_TABLES)
    categories, trained = classifier(ctx, entry), click_model(ctx, click)
    history = behaviours(logs, item_texts(ctx, model(ctx, entry, "item-texts")))
    builder = _builder(logs, history, day, categories)
    return lambda users, queries: score_pairs(trained, builder, categories, users, queries)


def score_pairs(
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
    logs: dict[str, pd.DataFrame],
    history: pd.DataFrame,
    day: date,
    categories: "CategoryClassifier",
) -> "FeatureBuilder":
    from ctr_model.features import FeatureBuilder

    categories.classify(history["content"].unique().tolist())  # one batch fills the memo
    shown = with_late_clicks(logs["hint_impressions"], logs["late_clicks"])
    return FeatureBuilder.from_behaviours(
        history, shown, pd.Timestamp(day), lambda query: categories.classify([query])[0]
    )
