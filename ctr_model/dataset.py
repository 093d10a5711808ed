"""Labelled impressions: every day's hints against the snapshot at the start of that day."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ctr_model.columns import Bools
from ctr_model.features import FEATURES, FeatureBuilder
from ctr_model.history import Categories, EventLog


@dataclass(frozen=True)
class LabelledImpressions:
    """features float32 (n, len(FEATURES)), clicked bool (n,), day datetime64[D] (n,)."""

    features: NDArray[np.float32]
    clicked: Bools
    day: NDArray[np.datetime64]

    def __len__(self) -> int:
        return len(self.clicked)

    def where(self, mask: Bools) -> "LabelledImpressions":
        return LabelledImpressions(self.features[mask], self.clicked[mask], self.day[mask])


def labelled_impressions(
    behaviours: pd.DataFrame,
    impressions: pd.DataFrame,
    days: Sequence[pd.Timestamp],
    categories: Categories | None = None,
) -> LabelledImpressions:
    """Rows of all impressions on `days` (midnights), ordered by time, user, query and position.

    Each day is featurised at its own start, so no row sees an event of its day or later.  The
    label is the `clicked` column as given: merge late clicks first if they should count.  Pass the
    HISTORY_DAYS of behaviours and HINT_DAYS of impressions before the first day as well, so that
    the first day's features mean what the last day's do.  Other arguments as in `FeatureBuilder`.
    """
    log = EventLog.of(behaviours, impressions, categories)
    shown = impressions.sort_values(["time", "user_id", "query", "position"], kind="stable")
    midnight = shown["time"].dt.normalize()
    parts = [_one_day(log, shown[midnight == day], day) for day in sorted(set(days))]
    if not parts:
        return LabelledImpressions(
            np.empty((0, len(FEATURES)), np.float32), np.empty(0, bool), np.empty(0, "M8[D]")
        )
    return LabelledImpressions(
        np.concatenate([part.features for part in parts]),
        np.concatenate([part.clicked for part in parts]),
        np.concatenate([part.day for part in parts]),
    )


def _one_day(log: EventLog, shown: pd.DataFrame, day: pd.Timestamp) -> LabelledImpressions:
    builder = FeatureBuilder(log, day)
    position = shown["position"].to_numpy(np.int64)
    return LabelledImpressions(
        builder.pairs(shown["user_id"].tolist(), shown["query"].tolist(), position),
        shown["clicked"].to_numpy(bool),
        np.full(len(shown), np.datetime64(day, "D")),
    )
