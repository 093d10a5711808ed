from collections.abc import Mapping, Sequence
from datetime import date

import numpy as np
import pandas as pd

from aigq_tasks.context.prompt import HistoryLine, Shopper
from aigq_tasks.evaluation.arms import Case, behaviour_scores, by_turns, score_arms
from aigq_tasks.evaluation.truth import Truths


def test_what_the_alarms_look_at() -> None:
    asked: list[tuple[str, str]] = []

    def scorer(users: Sequence[str], queries: Sequence[str]) -> np.ndarray:
        asked.extend(zip(users, queries, strict=True))
        return np.array([len(query) / 10 for query in queries])

    line = HistoryLine("tea", "search", 1, 2, 7.0)
    shoppers = [Shopper("ann", "", (line,)), Shopper("bob", "", ())]
    history = pd.DataFrame({"content": ["tea", "milk"]})
    truth = {"ann": {"tea"}, "bob": {"milk"}}
    nothing = pd.DataFrame(columns=["user_id", "query", "weight"])
    case = Case(DAY, Truths(truth, truth, nothing), shoppers, history)
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
        "kind": ["search"] * 10 + ["item_click"],
        "content": ["tea"] * 10 + ["milk"],
    }
)


def classify(texts: Sequence[str]) -> list[str]:
    return [text.split()[-1] for text in texts]


def embed(texts: Sequence[str]) -> np.ndarray:
    """Orthogonal: the cosine of two texts is 1 if they are equal, else 0."""
    return np.array([[float(text == other) for other in sorted(set(texts))] for text in texts])


def needs(users: Sequence[str], queries: Sequence[str]) -> list[Mapping[str, float]]:
    """The last word is the need, met with a tenth of the query's length; nothing is known of
    eve."""
    pairs = zip(users, queries, strict=True)
    return [
        {query.split()[-1]: np.nan if user == "eve" else len(query) / 10} for user, query in pairs
    ]


TRUTHS = Truths(
    searched={"ann": {"tea", "oat milk"}, "bob": {"jam"}},
    exposed={"ann": {"tea", "oat milk", "ham"}, "bob": {"jam"}, "eve": {"rye"}},
    explored=pd.DataFrame(
        [("ann", "ham", 30.0), ("ann", "tea", 10.0), ("eve", "rye", 30.0)],
        columns=["user_id", "query", "weight"],
    ),
)
CASE = Case(DAY, TRUTHS, SHOPPERS, HISTORY)
LISTS = {
    "policy": {"ann": ["tea", "tea", "milk", "jam"], "bob": [], "eve": ["rye", "x" * 41]},
    "classic": {"bob": [f"query {n}" for n in range(12)]},
}
VALID = {"policy": {"ann": True, "bob": True, "eve": True}}


def test_scores_of_the_arms_by_hand() -> None:
    rows = score_arms(CASE, LISTS, VALID, classify, embed, needs)
    assert rows.columns.tolist() == [
        *("arm", "user_id", "query_hr_10", "query_hr_30", "cate_hr_30", "sem_sim"),
        *("unique_cates", "valid", "query_hr_30/cold", "query_hr_30/new"),
        *("query_hr_30/rediscovered", "query_hr_30/repeat", "query_hr_30/warm"),
        *("explored_hr_10", "exposed_hr_10", "explored_hr_30", "exposed_hr_30"),
        *("popular", "near_duplicates", "same_need", "needs_10"),
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
    # Eve searched nothing: what she clicked tells of her list by the biased truth alone.
    assert eve[["query_hr_10", "query_hr_30", "cate_hr_30", "sem_sim"]].isna().all()
    assert (eve["exposed_hr_10"], eve["explored_hr_10"]) == (1.0, 1.0)
    # Of ann's explored clicks, 30 + 10 by weight, the list holds the tea.
    assert ann["explored_hr_30"] == 0.25
    assert np.isnan(bob["explored_hr_30"])
    # Well-formed as the policy wrote them: tea comes twice; no query; one that may not be shown.
    assert (ann["valid"], bob["valid"], eve["valid"]) == (0.0, 0.0, 0.0)
    # No policy wrote the classic list: it only has to be servable.
    assert rows.loc[1, "valid"] == 1.0
    # All searched so far is tea. Ann's second tea is near the first, and the same need.
    assert (ann["popular"], ann["near_duplicates"], ann["same_need"]) == (0.5, 0.25, 0.25)


def test_a_list_is_worth_the_distinct_needs_that_it_meets() -> None:
    column = score_arms(CASE, LISTS, VALID, classify, embed, needs)["needs_10"]
    # classic: ann has no list; bob ten queries of 7 letters for ten needs. policy: ann tea twice
    # (1 - 0.7 · 0.7), milk 0.4, jam 0.3. Nothing is known of eve, whatever she was offered.
    expected = [0.0, 7.0, np.nan, 0.51 + 0.4 + 0.3, 0.0, np.nan]
    np.testing.assert_allclose(column, expected)
    nobody_knows = score_arms(CASE, LISTS, VALID, classify, embed, None)
    for name in ("needs_10", "same_need"):
        assert nobody_knows[name].isna().all()
        assert nobody_knows[name].dtype == "float64"


def test_two_lists_by_turns() -> None:
    first = {"ann": ["a", "b", "c", "d"], "bob": [], "eve": ["a"]}
    second = {"ann": ["b", "x", "a", "y"], "bob": ["x", "y"], "sue": ["x"]}
    # Whoever's turn it is gives the first of its queries that is not there yet.
    assert by_turns(first, second, 5) == {"ann": ["a", "b", "c", "x", "d"], "bob": ["x", "y"]}
    assert by_turns(first, second, 1)["ann"] == ["a"]
    assert by_turns({"ann": ["a", "b", "c"]}, {"ann": ["b"]}, 9) == {"ann": ["a", "b", "c"]}
