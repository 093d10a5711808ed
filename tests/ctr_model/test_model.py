import json

import numpy as np
import pandas as pd
import pytest

from ctr_model.config import TrainConfig
from ctr_model.features import FEATURES, FeatureBuilder
from ctr_model.model import CtrModel, score
from ctr_model.train import train


@pytest.fixture(scope="module")
def features() -> np.ndarray:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(1_200, len(FEATURES))).astype(np.float32)
    values[:, FEATURES.index("position")] = rng.integers(1, 4, 1_200)
    return values


@pytest.fixture(scope="module")
def model(features: np.ndarray) -> CtrModel:
    seen = features[:, FEATURES.index("query_ctr")]
    first = features[:, FEATURES.index("position")] == 1
    clicked = (seen > 0.5) & first
    days = np.repeat(np.arange("2017-11-01", "2017-11-07", dtype="datetime64[D]"), 200)
    config = TrainConfig(num_threads=1, max_trees=20, min_rows_per_leaf=10)
    return train(features, clicked, days, config, seed=0)


def test_files_hold_the_whole_model(model: CtrModel, features: np.ndarray) -> None:
    files = model.to_files()
    assert sorted(files) == ["model.json", "model.txt"]
    card = json.loads(files["model.json"])
    assert card["feature_names"] == list(FEATURES)
    assert card["training"]["first_day"] == "2017-11-01"
    assert card["training"]["last_day"] == "2017-11-06"
    assert card["training"]["rows"] == 1_200
    assert card["metrics"]["rows"] == 400  # the newest of three runs of six days

    again = CtrModel.from_files(files)
    assert again == model
    assert again.to_files() == files
    np.testing.assert_array_equal(again.predict(features), model.predict(features))
    assert model.predict(features).std() > 0.01  # so that equality says something


def test_a_missing_file_is_named(model: CtrModel) -> None:
    with pytest.raises(ValueError, match=r"needs model\.json"):
        CtrModel.from_files({"model.txt": model.to_files()["model.txt"]})


def test_features_of_another_width_are_refused(model: CtrModel, features: np.ndarray) -> None:
    with pytest.raises(ValueError, match=rf"\(n, {len(FEATURES)}\)"):
        model.predict(features[:, :-1])
    assert model.predict(features[:0]).shape == (0,)


def test_importance_shares(model: CtrModel) -> None:
    shares = model.importance()
    assert sum(shares.values()) == pytest.approx(1)
    assert list(shares)[:2] in (["query_ctr", "position"], ["position", "query_ctr"])


def test_score_ranks_at_the_first_position_whatever_the_batch(
    model: CtrModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = pd.DataFrame(
        {
            "user_id": ["ann", "bob"],
            "time": pd.to_datetime(["2017-11-01", "2017-11-02"]).as_unit("us"),
            "kind": ["search", "search"],
            "content": ["milk", "eggs"],
        }
    )
    shown = pd.DataFrame(
        {
            "user_id": ["ann", "bob"],
            "time": pd.to_datetime(["2017-11-01", "2017-11-02"]).as_unit("us"),
            "position": [1, 2],
            "query": ["milk", "eggs"],
            "clicked": [True, False],
            "click_time": pd.to_datetime(["2017-11-01", None]).as_unit("us"),
        }
    )
    builder = FeatureBuilder.from_behaviours(history, shown, pd.Timestamp("2017-11-06"), ())
    users, queries = ["ann", "bob", "ann"], ["milk", "milk", "oat milk"]
    expected = model.predict(builder.pairs(users, queries, 1))
    assert not np.array_equal(expected, model.predict(builder.pairs(users, queries, 3)))
    np.testing.assert_array_equal(score(model, builder, users, queries), expected)
    monkeypatch.setattr("ctr_model.model.PAIRS_PER_BATCH", 2)
    np.testing.assert_array_equal(score(model, builder, users, queries), expected)
    assert score(model, builder, [], []).shape == (0,)


def test_score_refuses_a_model_of_other_features(model: CtrModel) -> None:
    other = CtrModel(model.booster_text, model.calibration, FEATURES[::-1])
    empty = pd.DataFrame(
        columns=["user_id", "time", "kind", "content", "position", "query", "clicked", "click_time"]
    ).astype({"time": "datetime64[us]", "click_time": "datetime64[us]"})
    builder = FeatureBuilder.from_behaviours(empty, empty, pd.Timestamp("2017-11-06"), ())
    with pytest.raises(ValueError, match="other features"):
        score(other, builder, ["ann"], ["milk"])
