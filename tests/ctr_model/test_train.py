"""Training on a small synthetic click process: users click what they search for."""

from functools import cache
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest

from ctr_model.calibration import sigmoid
from ctr_model.config import TrainConfig
from ctr_model.features import FEATURES, FeatureBuilder
from ctr_model.history import EventLog
from ctr_model.train import train
from ctr_model.validate import auc, ece, evaluate, standard_slices

USERS, PHRASES, TASTE, HINTS_PER_DAY = 120, 80, 6, 900
SLOT = np.array([0.0, 1.0, 0.7, 0.5])  # by position 1..3
FIRST, HINT_DAYS = pd.Timestamp("2017-11-01"), 10
CONFIG = TrainConfig(num_threads=1, max_trees=120, min_rows_per_leaf=30)


class Rows(NamedTuple):
    """What `train` takes: features (n, len(FEATURES)), clicked (n,), day datetime64[D] (n,)."""

    features: np.ndarray
    clicked: np.ndarray
    day: np.ndarray

    def where(self, mask: np.ndarray) -> "Rows":
        return Rows(*(column[mask] for column in self))


@cache
def process() -> tuple[Rows, np.ndarray]:
    """Labelled hints of ten days after thirty of history, and their true click probabilities.

    A hint out of the user's six favourite phrases is clicked with probability 0.5 at position 1,
    any other with 0.04.  From the eighth day on, clicks are half as likely: the world has changed.
    """
    rng = np.random.default_rng(3)
    texts = np.array([f"word{i % 40} thing{i // 40}" for i in range(PHRASES)])
    taste = np.stack([rng.choice(PHRASES, TASTE, replace=False) for _ in range(USERS)])
    n = USERS * 40
    user = rng.integers(USERS, size=n)
    behaviours = pd.DataFrame(
        {
            "user_id": [f"u{i}" for i in user],
            "time": FIRST + pd.to_timedelta(rng.uniform(-30, HINT_DAYS, n), unit="D"),
            "kind": rng.choice(["search", "item_click"], n),
            "content": texts[taste[user, rng.integers(TASTE, size=n)]],
        }
    )
    n = HINTS_PER_DAY * HINT_DAYS
    day, user = np.arange(n) // HINTS_PER_DAY, rng.integers(USERS, size=n)
    position = np.arange(n) % 3 + 1
    liked = rng.random(n) < 0.3
    phrase = np.where(
        liked, taste[user, rng.integers(TASTE, size=n)], rng.integers(PHRASES, size=n)
    )
    favourite = (taste[user] == phrase[:, None]).any(axis=1)
    truth = np.where(favourite, 0.5, 0.04) * SLOT[position] * np.where(day >= 7, 0.5, 1.0)
    clicked = rng.random(n) < truth
    time = FIRST + pd.to_timedelta(day + (np.arange(n) % HINTS_PER_DAY) / HINTS_PER_DAY, unit="D")
    impressions = pd.DataFrame(
        {
            "user_id": [f"u{i}" for i in user],
            "time": time,
            "position": position,
            "query": texts[phrase],
            "clicked": clicked,
            "click_time": time.where(clicked),
        }
    )
    log = EventLog.of(behaviours, impressions)
    features = [
        FeatureBuilder(log, start, ()).pairs(
            shown["user_id"].tolist(), shown["query"].tolist(), shown["position"].to_numpy()
        )
        for start, shown in impressions.groupby(impressions["time"].dt.normalize())
    ]
    return Rows(np.concatenate(features), clicked, time.to_numpy("M8[D]")), truth


def test_the_model_learns_the_process_and_calibration_follows_the_change() -> None:
    rows, truth = process()
    last = rows.day == rows.day.max()
    model, today = train(*rows.where(~last), CONFIG, seed=0), rows.where(last)
    logit = model.logits(today.features)
    metrics = evaluate(
        today.clicked, model.calibration.probability(logit), standard_slices(today.features)
    )
    best = auc(today.clicked, truth[last])
    assert metrics["rows"] == HINTS_PER_DAY
    assert metrics["auc"] > 0.75
    assert metrics["auc"] > best - 0.06  # near what knowing the truth would reach
    # Trees of a run of days are calibrated on another, so what they are too sure of is taken back.
    assert metrics["ece"] < ece(today.clicked, sigmoid(logit))
    assert metrics["ece"] < 0.04
    assert metrics["warm_user/rows"] > 0


def test_two_trainings_give_the_same_bytes() -> None:
    rows, _ = process()
    first = train(*rows, CONFIG, seed=0).to_files()
    second = train(*rows, CONFIG, seed=0).to_files()
    assert first == second
    assert train(*rows, CONFIG, seed=1).to_files() != first
    other = CONFIG.model_copy(update={"l2": 9.0})
    assert train(*rows, other, seed=0).to_files() != first


def test_a_model_says_what_it_was_trained_with() -> None:
    rows, _ = process()
    model = train(*rows, CONFIG, seed=3)
    assert model.training["config"] == CONFIG.model_dump() | {"seed": 3}
    assert TrainConfig().num_threads == 2


def test_position_one_is_clicked_more() -> None:
    rows, _ = process()
    model = train(*rows, CONFIG, seed=0)
    features = rows.features.copy()
    mean = {}
    for position in (1, 3):
        features[:, FEATURES.index("position")] = position
        mean[position] = model.predict(features).mean()
    assert mean[1] > 1.5 * mean[3]  # the process says 2


def test_what_cannot_be_trained_is_refused_with_a_reason() -> None:
    rows, _ = process()
    two_days = rows.where(rows.day < np.datetime64(FIRST + pd.Timedelta(days=2), "D"))
    with pytest.raises(ValueError, match="2 days of impressions for 3 runs of days"):
        train(*two_days, CONFIG, seed=0)
    quiet = rows.clicked & (rows.day > rows.day.max() - 2)
    # Ten days in three runs: four, three, three.
    with pytest.raises(
        ValueError, match="without run 3 of 3 the training days have 0 clicks in 6300"
    ):
        train(*rows._replace(clicked=quiet), CONFIG, seed=0)


def test_the_trees_see_the_newest_days() -> None:
    rows, _ = process()
    turned = rows.clicked.copy()
    newest = rows.day == rows.day.max()
    turned[newest] = ~turned[newest]
    model = train(*rows, CONFIG, seed=0)
    other = train(*rows._replace(clicked=turned), CONFIG, seed=0)
    assert model.training["last_day"] == str(rows.day.max())
    assert (model.logits(rows.features) != other.logits(rows.features)).any()
    assert other.predict(rows.features).mean() > model.predict(rows.features).mean()


def test_metrics_are_those_of_rows_that_the_trees_left_out() -> None:
    """Clicks that follow from nothing: trees that saw them would seem to know them."""
    rows, _ = process()
    noise = np.random.default_rng(0).random(len(rows.clicked)) < 0.2
    model = train(*rows._replace(clicked=noise), CONFIG, seed=0)
    assert model.metrics["auc"] == pytest.approx(0.5, abs=0.05)
    assert model.metrics["ece"] < 0.03
