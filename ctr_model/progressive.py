"""Progressive validation: each day is predicted by a model that has seen only earlier days.

It is the honest figure: no row is judged by a model, a tree count or a calibration that saw it
(Blum, Kalai & Langford, COLT 1999; McMahan et al., KDD 2013, section 5.1 for click prediction).
"""

import numpy as np

from ctr_model.calibration import sigmoid
from ctr_model.dataset import LabelledImpressions
from ctr_model.train import TrainConfig, train
from ctr_model.validate import ece, evaluate, standard_slices


def progressive_validation(
    impressions: LabelledImpressions,
    days: list[np.datetime64],
    window_days: int,
    config: TrainConfig | None = None,
) -> dict[str, dict[str, float]]:
    """Metrics per judged day (ISO date): train on the `window_days` before it, predict it.

    Keys of the inner dict as in `validate.evaluate` with the standard slices, plus
    uncalibrated_ece.  ValueError where the window cannot train a model, or a day has no rows.
    """
    results = {}
    for day in sorted(days):
        past = impressions.where(
            (impressions.day < day) & (impressions.day >= day - np.timedelta64(window_days, "D"))
        )
        today = impressions.where(impressions.day == day)
        if not len(today):
            raise ValueError(f"no impressions on {day} to judge a model by")
        model = train(past.features, past.clicked, past.day, config)
        logit = model.logits(today.features)
        metrics = evaluate(
            today.clicked, model.calibration.probability(logit), standard_slices(today.features)
        )
        metrics["uncalibrated_ece"] = ece(today.clicked, sigmoid(logit))
        results[str(day)] = metrics
    return results
