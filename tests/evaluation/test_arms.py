from collections.abc import Sequence
from datetime import date

import numpy as np
import pandas as pd

from aigq_tasks.context.prompt import HistoryLine, Shopper
from aigq_tasks.evaluation.arms import Case, behaviour_scores, score_arms, truth_of_day


def test_what_the_alarms_look_at() -> None:
    asked: list[tuple[str, str]] = []

    def scorer(users: Sequence[str], queries: Sequence[str]) -> np.ndarray:
        asked.extend(zip(users, queries, strict=True))
        return np.array([len(query) / 10 for query in queries])

    line = HistoryLine("tea", "search", 1, 2, 7.0)
    shoppers = [Shopper("ann", "", (line,)), Shopper("bob", "", ())]
    history = pd.DataFrame({"content": ["tea", "milk"]})
    case = Case(DAY, {"ann": {"tea"}, "bob": {"milk"}}, shoppers, history)
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


DAY = date(2017, 11, 6)
LINES = (HistoryLine("tea", "search", 1, 2, 7.0),)
SHOPPERS = [Shopper("ann", "", LINES), Shopper("bob", "", ()), Shopper("eve", "", ())]
HISTORY = pd.DataFrame(
    {
        "user_id": ["ann"] * 10 + ["bob"],
        "time": pd.to_datetime(["2017-11-05T12:00"] * 11),
        "content": ["tea"] * 10 + ["milk"],
    }
)


def classify(texts: Sequence[str]) -> list[str]:
    return [text.split()[-1] for text in texts]


def embed(texts: Sequence[str]) -> np.ndarray:
    """Orthogonal: the cosine of two texts is 1 if they are equal, else 0."""
    return np.array([[float(text == other) for other in sorted(set(texts))] for text in texts])


def truth(users: Sequence[str], queries: Sequence[str]) -> np.ndarray:
    """A tenth of the length of the query; nothing is known of eve."""
    pairs = zip(users, queries, strict=True)
    return np.array([np.nan if user == "eve" else len(query) / 10 for user, query in pairs])


CASE = Case(DAY, {"ann": {"tea", "oat milk"}, "bob": {"jam"}, "eve": {"rye"}}, SHOPPERS, HISTORY)
LISTS = {
    "policy": {"ann": ["tea", "tea", "milk", "jam"], "bob": [], "eve": ["rye", "x" * 41]},
    "classic": {"bob": [f"query {n}" for n in range(12)]},
}
VALID = {"policy": {"ann": True, "bob": True, "eve": True}}


def test_scores_of_the_arms_by_hand() -> None:
    rows = score_arms(CASE, LISTS, VALID, classify, embed, truth)
    assert rows.columns.tolist() == [
        *("arm", "user_id", "query_hr_10", "query_hr_30", "cate_hr_30", "sem_sim"),
        *("unique_cates", "valid", "query_hr_30/cold", "query_hr_30/new"),
        *("query_hr_30/rediscovered", "query_hr_30/repeat", "query_hr_30/warm", "true_click"),
    ]
    assert rows[["arm", "user_id"]].to_numpy().tolist() == [
        [arm, user] for arm in ("classic", "policy") for user in ("ann", "bob", "eve")
    ]
    ann, bob, eve = (rows.iloc[n] for n in (3, 4, 5))
    # ann asks for tea (met before) and oat milk (new, and no query of hers, but a milk).
    assert (ann["query_hr_30"], ann["cate_hr_30"], ann["sem_sim"]) == (1.0, 1.0, 0.5)
    assert (ann["query_hr_30/repeat"], ann["query_hr_30/new"]) == (1.0, 0.0)
    assert (ann["query_hr_30/warm"], bob["query_hr_30/cold"]) == (1.0, 0.0)
    assert np.isnan(ann["query_hr_30/cold"])
    # Well-formed as the policy wrote them: tea comes twice; no query; one that may not be shown.
    assert (ann["valid"], bob["valid"], eve["valid"]) == (0.0, 0.0, 0.0)
    # No policy wrote the classic list: it only has to be servable.
    assert rows.loc[1, "valid"] == 1.0


def test_true_click_punishes_short_lists_and_repetition() -> None:
    column = score_arms(CASE, LISTS, VALID, classify, embed, truth)["true_click"]
    # classic: ann has no list, bob ten of twelve queries of 7 letters. policy: ann tea once, milk,
    # jam: (0.3 + 0.4 + 0.3) / 10. Nothing is known of eve, whatever she was offered.
    expected = [0.0, 0.7, np.nan, 0.1, 0.0, np.nan]
    np.testing.assert_allclose(column, expected)
    nobody_knows = score_arms(CASE, LISTS, VALID, classify, embed, None)["true_click"]
    assert nobody_knows.isna().all()
    assert nobody_knows.dtype == "float64"


def test_truth_is_what_was_searched_or_clicked_on_the_day() -> None:
    noon, yesterday = pd.Timestamp("2017-11-06T12:00"), pd.Timestamp("2017-11-05T12:00")
    shown = pd.DataFrame(
        [
            ("r1", "ann", 1, "Oat Milk", True, noon),
            ("r1", "ann", 2, "jam", False, pd.NaT),
            ("r2", "bob", 1, "rye", True, yesterday),
            ("r3", "bob", 1, "ham", False, pd.NaT),  # clicked later, see below
        ],
        columns=["request_id", "user_id", "position", "query", "clicked", "click_time"],
    )
    logs = {
        "searches": pd.DataFrame({"user_id": ["eve", "ann"], "query": ["Tea!", "tea"]}),
        "hint_impressions": shown,
        "late_clicks": pd.DataFrame({"request_id": ["r3"], "position": [1], "click_time": [noon]}),
    }
    assert truth_of_day(logs, DAY) == {"ann": {"oat milk", "tea"}, "bob": {"ham"}, "eve": {"tea"}}
