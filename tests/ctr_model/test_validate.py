import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from ctr_model.features import FEATURES
from ctr_model.validate import auc, ece, evaluate, log_loss, sanity, standard_slices

LIMITS = (0.55, 0.05)  # the least AUC, the greatest ECE


def bools(*values: int) -> np.ndarray:
    return np.array(values, bool)


def test_auc_by_hand() -> None:
    # Pairs (clicked, unclicked): 0.8>0.5, 0.8>0.2, 0.5=0.5 counts half, 0.5>0.2: 3.5 of 4.
    assert auc(bools(1, 1, 0, 0), np.array([0.8, 0.5, 0.5, 0.2])) == 3.5 / 4
    assert np.isnan(auc(bools(0, 0), np.array([0.1, 0.2])))
    assert np.isnan(auc(bools(1), np.array([0.1])))


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=2, max_size=30))
def test_auc_is_the_share_of_ordered_pairs(rows: list[tuple[bool, int]]) -> None:
    clicked, p = bools(*(r[0] for r in rows)), np.array([r[1] / 5 for r in rows])
    wins = [(a > b) + (a == b) / 2 for a in p[clicked] for b in p[~clicked]]
    if wins:
        assert auc(clicked, p) == sum(wins) / len(wins)  # rounded once
    else:
        assert np.isnan(auc(clicked, p))


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1)), min_size=2, max_size=30))
def test_auc_is_that_of_scikit_learn(rows: list[tuple[bool, float]]) -> None:
    clicked, p = bools(*(r[0] for r in rows)), np.array([r[1] for r in rows])
    if clicked.any() and not clicked.all():
        assert auc(clicked, p) == pytest.approx(roc_auc_score(clicked, p), abs=1e-12)


def test_log_loss_by_hand() -> None:
    # -(ln 0.8 + ln(1 - 0.4)) / 2
    assert log_loss(bools(1, 0), np.array([0.8, 0.4])) == pytest.approx(
        -(np.log(0.8) + np.log(0.6)) / 2
    )
    assert log_loss(bools(1, 1), np.array([1.0, 0.0])) == pytest.approx(-np.log(1e-12) / 2)
    assert log_loss(bools(0), np.array([0.0])) == pytest.approx(0, abs=1e-11)
    assert np.isnan(log_loss(bools(), np.empty(0)))


def test_ece_by_hand() -> None:
    # Two bins of equal mass: {0.1, 0.2} mean 0.15 against a rate of 1/2, gap 0.35;
    # {0.6, 0.8} mean 0.7 against 1, gap 0.3.  Halves: 0.325.
    p = np.array([0.8, 0.1, 0.6, 0.2])
    assert ece(bools(1, 0, 1, 1), p, bins=2) == pytest.approx(0.325)


def test_ece_does_not_depend_on_how_ties_fall() -> None:
    # All four are tied at 0.5 with rate 1/2: no error, though sorted labels would show one.
    p = np.full(4, 0.5)
    assert ece(bools(0, 0, 1, 1), p, bins=2) == ece(bools(1, 0, 0, 1), p, bins=2) == 0


def test_slices_with_one_class_or_no_row_leave_metrics_out_and_keep_counts() -> None:
    slices = {
        "unclicked": bools(0, 0, 1),
        "nobody": bools(0, 0, 0),
    }
    metrics = evaluate(bools(1, 0, 0), np.array([0.9, 0.2, 0.1]), slices)
    assert metrics["auc"] == 1
    assert metrics["clicks"] == 1
    assert metrics["mean_probability"] == pytest.approx(0.4)
    assert metrics["unclicked/rows"] == 1
    assert metrics["unclicked/clicks"] == 0
    assert metrics["unclicked/log_loss"] == pytest.approx(-np.log(0.9))
    assert "unclicked/auc" not in metrics
    assert {k: v for k, v in metrics.items() if k.startswith("nobody")} == {
        "nobody/rows": 0,
        "nobody/clicks": 0,
    }
    assert all(np.isfinite(value) for value in metrics.values())


def test_standard_slices() -> None:
    features = np.zeros((3, len(FEATURES)), np.float32)
    features[0, FEATURES.index("query_seen")] = 1
    features[2, FEATURES.index("user_days_since_event")] = np.nan
    slices = {name: mask.tolist() for name, mask in standard_slices(features).items()}
    assert slices == {
        "seen_query": [True, False, False],
        "unseen_query": [False, True, True],
        "warm_user": [True, True, False],
        "cold_user": [False, False, True],
    }


def test_sanity_names_every_fault() -> None:
    good = {"auc": 0.7, "ece": 0.01, "rows": 100.0, "clicks": 9.0, "calibration_slope": 1.0}
    assert sanity(good, *LIMITS) == []
    assert sanity(good | {"auc": 0.54}, *LIMITS) == ["ctr auc 0.5400 is below 0.55"]
    assert sanity(good | {"ece": 0.06}, *LIMITS) == ["ctr ece 0.0600 is above 0.05"]
    assert len(sanity(good | {"calibration_slope": -0.2}, *LIMITS)) == 1
    # Limits themselves pass.
    assert sanity({"auc": 0.55, "ece": 0.05}, *LIMITS) == []


def test_a_model_that_could_not_be_judged_is_not_sane() -> None:
    assert sanity({"rows": 40.0, "clicks": 0.0, "ece": 0.0}, *LIMITS) == [
        "ctr auc could not be measured (40 rows, 0 clicks)"
    ]
    assert len(sanity({}, *LIMITS)) == 2
    assert sanity({"auc": float("nan"), "ece": 0.0}, *LIMITS)[0].startswith("ctr auc could not")
