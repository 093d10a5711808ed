"""One day's click model: LightGBM on the older days, tree count and calibration on the newest.

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

    The same arrays, config and seed give the same bytes.  ValueError when there are not more days
    than `holdout_days`, or when the training or the newest days lack clicked or unclicked hints.
    """
    newest = _newest(day, config.holdout_days)
    for name, rows in (("training", clicked[~newest]), ("newest", clicked[newest])):
        if rows.all() or not rows.any():
            raise ValueError(
                f"the {name} days have {rows.sum()} clicks in {len(rows)} impressions; "
                "both kinds are needed: widen the window"
            )
    booster = _boost(features, clicked, newest, config, seed)
    text = booster.model_to_string(num_iteration=booster.best_iteration)
    raw = CtrModel(text, calibration.Calibration(), FEATURES)
    logit = raw.logits(features[newest], config.num_threads)
    fitted = calibration.fit(logit, clicked[newest])
    metrics = evaluate(
        clicked[newest], fitted.probability(logit), standard_slices(features[newest])
    )
    uncalibrated = evaluate(clicked[newest], calibration.sigmoid(logit))
    return CtrModel(
        booster_text=text,
        calibration=fitted,
        feature_names=FEATURES,
        training={
            "first_day": str(day.min()),
            "last_day": str(day.max()),
            "rows": len(clicked),
            "clicks": int(clicked.sum()),
            "trees": int(booster.best_iteration),
            "config": config.model_dump() | {"seed": seed},
        },
        metrics=metrics
        | {"uncalibrated_ece": uncalibrated["ece"], "calibration_slope": fitted.slope},
    )


def _newest(day: NDArray[np.datetime64], holdout_days: int) -> Bools:
    days = np.unique(day)
    if holdout_days >= len(days):
        raise ValueError(
            f"{len(days)} days of impressions, {holdout_days} of them held out; "
            "at least one day must be left to train on"
        )
    return np.asarray(day >= days[-holdout_days], bool)


def _boost(
    features: NDArray[np.float32], clicked: Bools, newest: Bools, config: TrainConfig, seed: int
) -> Any:
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
    train_set = lightgbm.Dataset(
        features[~newest], clicked[~newest].astype(np.float32), feature_name=list(FEATURES)
    )
    valid_set = train_set.create_valid(features[newest], clicked[newest].astype(np.float32))
    return lightgbm.train(
        params,
        train_set,
        num_boost_round=config.max_trees,
        valid_sets=[valid_set],
        callbacks=[lightgbm.early_stopping(config.early_stopping_rounds, verbose=False)],
    )
