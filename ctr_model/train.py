"""One day's click model: LightGBM on all days, tree count and calibration by cross-fitting.

LightGBM is known to hang in a process forked after it was loaded: train in a fresh process.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctr_model import calibration
from ctr_model.columns import Bools
from ctr_model.config import TrainConfig
from ctr_model.features import FEATURES
from ctr_model.model import CtrModel
from ctr_model.validate import evaluate, standard_slices


def train(
    features: NDArray[np.float32],
    clicked: Bools,
    day: NDArray[np.datetime64],
    config: TrainConfig,
    seed: int,
) -> CtrModel:
    """Train on impressions: features (n, len(FEATURES)), clicked (n,), day datetime64[D] (n,).

    The trees see every day, the newest too. How many there are, and the calibration, come from
    cross-fitting: the days fall into `folds` runs, and each run is predicted by trees of the
    others. Metrics are those of the newest run, predicted that way.

    The same arrays, config and seed give the same bytes.  ValueError when there are fewer days than
    folds, or when without a run the others lack clicked or unclicked hints.
    """
    fold = _folds(day, config.folds)
    for number in range(config.folds):
        others = clicked[fold != number]
        if others.all() or not others.any():
            raise ValueError(
                f"without run {number + 1} of {config.folds} the training days have {others.sum()} "
                f"clicks in {len(others)} impressions; both kinds are needed: widen the window"
            )
    kept = [
        _boost(features, clicked, fold == number, config, seed) for number in range(config.folds)
    ]
    trees = max(1, round(float(np.mean([booster.best_iteration for booster in kept]))))
    logit = np.empty(len(clicked))
    for number, booster in enumerate(kept):
        rows = fold == number
        logit[rows] = booster.predict(
            features[rows], raw_score=True, num_iteration=trees, num_threads=config.num_threads
        )
    fitted = calibration.fit(logit, clicked)
    newest = fold == config.folds - 1
    metrics = evaluate(
        clicked[newest], fitted.probability(logit[newest]), standard_slices(features[newest])
    )
    uncalibrated = evaluate(clicked[newest], calibration.sigmoid(logit[newest]))
    booster = _boost(features, clicked, None, config, seed, trees)
    return CtrModel(
        booster_text=booster.model_to_string(),
        calibration=fitted,
        feature_names=FEATURES,
        training={
            "first_day": str(day.min()),
            "last_day": str(day.max()),
            "rows": len(clicked),
            "clicks": int(clicked.sum()),
            "trees": trees,
            "config": config.model_dump() | {"seed": seed},
        },
        metrics=metrics
        | {"uncalibrated_ece": uncalibrated["ece"], "calibration_slope": fitted.slope},
    )


def _folds(day: NDArray[np.datetime64], folds: int) -> NDArray[np.int64]:
    """The run of days that each row is in, (n,): 0 the oldest, all of about as many days."""
    days, number = np.unique(day, return_inverse=True)
    if len(days) < folds:
        raise ValueError(
            f"{len(days)} days of impressions for {folds} runs of days; land more days or lower "
            "ctr.train.folds"
        )
    return np.asarray(number * folds // len(days), np.int64)


def _boost(
    features: NDArray[np.float32],
    clicked: Bools,
    left_out: Bools | None,
    config: TrainConfig,
    seed: int,
    trees: int = 0,
) -> Any:
    """Trees of the rows that are not left out, which say when to stop; so many of all rows where
    none is."""
    import lightgbm

    params = {
        "objective": "binary",
        "metric": "binary_logloss",
        "learning_rate": config.learning_rate,
        "num_leaves": config.num_leaves,
        "min_data_in_leaf": config.min_rows_per_leaf,
        "lambda_l2": config.l2,
        "feature_fraction": config.feature_fraction,
        "seed": seed,
        "num_threads": config.num_threads,
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
    }
    seen = np.ones(len(clicked), bool) if left_out is None else ~left_out
    labels = clicked.astype(np.float32)
    train_set = lightgbm.Dataset(features[seen], labels[seen], feature_name=list(FEATURES))
    if left_out is None:
        return lightgbm.train(params, train_set, num_boost_round=trees)
    valid_set = train_set.create_valid(features[left_out], labels[left_out])
    return lightgbm.train(
        params,
        train_set,
        num_boost_round=config.max_trees,
        valid_sets=[valid_set],
        callbacks=[lightgbm.early_stopping(config.early_stopping_rounds, verbose=False)],
    )
