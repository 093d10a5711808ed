from collections.abc import Sequence

import numpy as np
import pandas as pd

from aigq_tasks.context.prompt import HistoryLine, Shopper
from aigq_tasks.stages.arms import Case, behaviour_scores


def test_what_the_alarms_look_at() -> None:
    asked: list[tuple[str, str]] = []

    def scorer(users: Sequence[str], queries: Sequence[str]) -> np.ndarray:
        asked.extend(zip(users, queries, strict=True))
        return np.array([len(query) / 10 for query in queries])

    line = HistoryLine("tea", "search", 1, 2, 7.0)
    shoppers = [Shopper("ann", "", (line,)), Shopper("bob", "", ())]
    history = pd.DataFrame({"content": ["tea", "milk"]})
    case = Case({"ann": {"tea"}, "bob": {"milk"}}, shoppers, history)
    lists = {"new": {"ann": ["tea", "milk", "blurb"], "bob": []}, "old": {"ann": ["tea"]}}
    rows = behaviour_scores(case, lists, scorer).set_index(["arm", "user_id"])
    # ann of "new": clicks 0.3, 0.4, 0.5; one of three in her history, one in no log.
    assert rows.loc[("new", "ann")].round(4).to_dict() == {
        "proxy": 0.4,
        "length": 3.0,
        "copied": 0.3333,
        "off_catalogue": 0.3333,
    }
    assert rows.loc[("old", "ann"), "copied"] == 1.0
    assert (rows.loc[("new", "bob")] == 0).all()
    assert len(rows) == 4
    assert asked == [("ann", "blurb"), ("ann", "milk"), ("ann", "tea")]  # each pair once
