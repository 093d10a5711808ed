"""The trained click model: LightGBM text plus one JSON, and scoring for ranking.

LightGBM is known to hang in a process forked after it was loaded: predict in a fresh process.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctr_model.calibration import Calibration
from ctr_model.columns import Floats
from ctr_model.features import FEATURES, FeatureBuilder

MODEL_FILE, CARD_FILE = "model.txt", "model.json"
RANKING_POSITION = 1  # the bias of the slot is held fixed when queries are compared
PAIRS_PER_BATCH = 16_384  # bounds memory


@dataclass(frozen=True)
class CtrModel:
    """Trees, calibration, and how they came about.

    training: first_day, last_day, rows, clicks, trees, config.  metrics: of the newest run of days,
    by trees of the others; see `validate` for the keys.
    """

    booster_text: str
    calibration: Calibration
    feature_names: tuple[str, ...]
    training: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)

    def predict(self, features: NDArray[np.float32], num_threads: int = 1) -> Floats:
        """Calibrated click probabilities float64 (n,) of features (n, len(feature_names))."""
        return self.calibration.probability(self.logits(features, num_threads))

    def logits(self, features: NDArray[np.float32], num_threads: int = 1) -> Floats:
        """Raw scores of the trees float64 (n,), log-odds before calibration.

        ValueError when the number of columns is not that of training.
        """
        if features.ndim != 2 or features.shape[1] != len(self.feature_names):
            raise ValueError(
                f"features have shape {features.shape}, the model needs (n, "
                f"{len(self.feature_names)}); build them with the code that trained it"
            )
        if not len(features):
            return np.empty(0)
        raw = self._booster.predict(features, raw_score=True, num_threads=num_threads)
        return np.asarray(raw, np.float64)

    def importance(self) -> dict[str, float]:
        """Share of the total split gain of each feature, largest first; empty without splits."""
        gain = self._booster.feature_importance("gain")
        total = float(gain.sum()) or 1.0
        shares = zip(self.feature_names, (gain / total).tolist(), strict=True)
        return dict(sorted(((n, s) for n, s in shares if s > 0), key=lambda x: (-x[1], x[0])))

    def to_files(self) -> dict[str, bytes]:
        """model.txt (LightGBM text) and model.json (everything else, sorted keys)."""
        card = {
            "feature_names": list(self.feature_names),
            "calibration": asdict(self.calibration),
            "training": self.training,
            "metrics": self.metrics,
        }
        text = json.dumps(card, sort_keys=True, indent=2, allow_nan=False) + "\n"
        return {MODEL_FILE: self.booster_text.encode(), CARD_FILE: text.encode()}

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> "CtrModel":
        """Inverse of `to_files`.  ValueError naming the file that is missing."""
        missing = [name for name in (MODEL_FILE, CARD_FILE) if name not in files]
        if missing:
            raise ValueError(f"a click model needs {' and '.join(missing)}")
        card = json.loads(files[CARD_FILE])
        return cls(
            booster_text=files[MODEL_FILE].decode(),
            calibration=Calibration(**card["calibration"]),
            feature_names=tuple(card["feature_names"]),
            training=card["training"],
            metrics=card["metrics"],
        )

    @cached_property
    def _booster(self) -> Any:
        import lightgbm

        return lightgbm.Booster(model_str=self.booster_text)


def score(
    model: CtrModel, builder: FeatureBuilder, user_ids: Sequence[str], queries: Sequence[str]
) -> Floats:
    """p̂(click | u, q; φ_D) of Eq 14 for n (user, query) pairs, float64 (n,), at position 1.

    ValueError when the model was trained on other features than this code builds.
    """
    if model.feature_names != FEATURES:
        raise ValueError("the click model was trained on other features; train it again")
    batches = [
        model.predict(
            builder.pairs(
                user_ids[i : i + PAIRS_PER_BATCH],
                queries[i : i + PAIRS_PER_BATCH],
                RANKING_POSITION,
            )
        )
        for i in range(0, len(user_ids), PAIRS_PER_BATCH)
    ]
    return np.concatenate([np.empty(0), *batches])
