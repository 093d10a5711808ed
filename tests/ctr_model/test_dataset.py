import numpy as np
import pandas as pd

from ctr_model.dataset import labelled_impressions
from ctr_model.features import FEATURES, FeatureBuilder

DAYS = [pd.Timestamp("2017-11-02"), pd.Timestamp("2017-11-03")]
HISTORY = pd.DataFrame(
    {
        "user_id": ["ann", "ann", "bob"],
        "time": pd.to_datetime(["2017-11-01 09:00", "2017-11-02 08:00", "2017-11-03 07:00"]),
        "kind": ["search", "search", "item_click"],
        "content": ["milk", "eggs", "milk"],
    }
)
SHOWN = pd.DataFrame(
    {
        "user_id": ["bob", "ann", "ann", "ann"],
        "time": pd.to_datetime(
            ["2017-11-03 00:00", "2017-11-02 23:59", "2017-11-01 12:00", "2017-11-03 10:00"]
        ),
        "position": [2, 1, 1, 1],
        "query": ["milk", "eggs", "eggs", "eggs"],
        "clicked": [False, True, False, True],
        # Ann's click on the eggs of the 2nd came after midnight.
        "click_time": pd.to_datetime([None, "2017-11-03 00:01", None, "2017-11-03 10:01"]),
    }
)


def test_every_day_is_seen_from_its_own_start() -> None:
    rows = labelled_impressions(HISTORY, SHOWN, DAYS)
    assert rows.clicked.tolist() == [True, False, True]
    assert rows.day.astype(str).tolist() == ["2017-11-02", "2017-11-03", "2017-11-03"]

    def column(name: str) -> list[float]:
        return rows.features[:, FEATURES.index(name)].tolist()

    assert column("position") == [1, 2, 1]
    # Eggs for Ann: searched on the 2nd at 8:00, which the 2nd must not know and the 3rd does.
    assert column("pair_searches") == [0, 0, 1]
    # One unclicked hint on the 1st; that of the 2nd was not clicked yet when the 3rd began.
    assert column("shown_ignored_28d") == [1, 0, 2]
    assert column("shown_clicked_28d") == [0, 0, 0]


def test_rows_equal_a_snapshot_that_never_saw_the_future() -> None:
    rows = labelled_impressions(HISTORY, SHOWN, DAYS)
    builder = FeatureBuilder.from_behaviours(HISTORY, SHOWN, DAYS[0])
    np.testing.assert_array_equal(rows.features[:1], builder.pairs(["ann"], ["eggs"], 1))


def test_row_order_of_the_tables_does_not_matter() -> None:
    rows = labelled_impressions(HISTORY, SHOWN, DAYS)
    mixed = labelled_impressions(HISTORY[::-1], SHOWN[::-1], DAYS[::-1])
    np.testing.assert_array_equal(mixed.features, rows.features)
    assert mixed.clicked.tolist() == rows.clicked.tolist()


def test_no_days_no_rows() -> None:
    assert labelled_impressions(HISTORY, SHOWN, []).features.shape == (0, len(FEATURES))
    assert len(labelled_impressions(HISTORY, SHOWN, [pd.Timestamp("2018-01-01")])) == 0
