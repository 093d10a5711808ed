"""From requests and the day so far to what is known at the second of each request."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from aigq_tasks.logs.behaviours import unsorted
from aigq_tasks.logs.schema import empty
from aigq_tasks.recall.asked import Asked, Memory, microseconds
from aigq_tasks.recall.cooccurrence import CoOccurrence
from aigq_tasks.serving.histories import BEHAVIOUR_TABLES

if TYPE_CHECKING:
    from aigq_tasks.recall.asked import Floats, Ints, RecallSource, Texts
    from aigq_tasks.recall.cooccurrence import UnitOf

_SECOND, _MINUTE = 1_000_000, 60_000_000  # µs
# The tie features of the click model (`ctr_model.features.TIE_FEATURES`), by source.
TIES = ("last", "category", "cluster")


def behaviours_of(
    so_far: Mapping[str, pd.DataFrame], users: Sequence[str], item_texts: Mapping[str, str]
) -> pd.DataFrame:
    """Behaviours (see `logs.behaviours`) of some users in the tables of a day that are there, in no
    order."""
    tables = {}
    for name in BEHAVIOUR_TABLES:
        rows = so_far.get(name)
        tables[name] = empty(name) if rows is None else rows
        if "user_id" in tables[name]:
            tables[name] = tables[name][tables[name]["user_id"].isin(users)]
    return unsorted(tables, item_texts)


def asked_of(memory: Memory, requests: pd.DataFrame) -> Asked:
    """The requests (user_id, time) on a memory, each at the beginning of its second."""
    moment = microseconds(requests["time"]) // _SECOND * _SECOND
    return Asked.of(memory, requests["user_id"].tolist(), moment)


def visit_columns(
    asked: Asked, request: "Ints", query: "Ints", texts: "Texts", category_of: "UnitOf"
) -> "Floats":
    """The visit features of pairs, float64 (n, VISIT_FEATURES). query: index into texts."""
    from ctr_model.visit import LOOK_BACK, Visits

    past = asked.past(days=1)
    minutes = (asked.moment[past.owner] - asked.memory.time[past.rows]) / _MINUTE
    recent = minutes < LOOK_BACK
    owner, minutes = past.owner[recent], minutes[recent]
    contents = asked.memory.texts.to_numpy()[asked.memory.text[past.rows[recent]]]
    code, phrases = pd.factorize(np.concatenate([contents, texts]), sort=True)
    met, numbers = code[: len(contents)].astype(np.int64), code[len(contents) :]
    visits = Visits.of(len(asked), owner, minutes, met, list(phrases), category_of)
    return visits.columns(request, numbers[query].astype(np.int64))


def tie_columns(
    sources: "Sequence[RecallSource]", asked: Asked, request: "Ints", query: "Ints", texts: "Texts"
) -> "Floats":
    """How strongly the latest behaviours lead to each query, float64 (n, TIES); 0 by a source that
    is not there."""
    states, state = asked.states
    width = max(1, len(texts))
    key, pair = np.unique(state[request] * width + query, return_inverse=True)
    columns = np.zeros((len(key), len(TIES)))
    for source in sources:
        if isinstance(source, CoOccurrence) and source.name in TIES:
            scores = source.pair_scores(states, key // width, key % width, texts)
            columns[:, TIES.index(source.name)] = scores
    return columns[pair]
