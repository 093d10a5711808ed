from datetime import date

import pandas as pd

from aigq_tasks.context.interests import Interest
from aigq_tasks.context.prompt import HistoryLine, Shopper
from aigq_tasks.policy.think import ParsedThink
from aigq_tasks.stages.x2q import merge_ties, of_yesterday, ties_of

MILK, RYE = (HistoryLine(text, "search", 1, 1, 0.0) for text in ("milk", "rye bread"))


def test_every_trigger_is_tied_to_every_query_of_its_interest() -> None:
    interests = {
        0: Interest("milk lately", (2, 1), ("oat milk", "butter")),
        2: Interest("milk often", (1,), ("x",)),  # too short to be shown
    }
    reasoned = [(Shopper("h1", "", (MILK, RYE)), ParsedThink(interests, [], False, "too many"))]
    ties = ties_of(reasoned)
    assert [tuple(row) for row in ties.itertuples(index=False)] == [
        ("h1", "rye bread", "oat milk", 1),
        ("h1", "rye bread", "butter", 2),
        ("h1", "milk", "oat milk", 1),
        ("h1", "milk", "butter", 2),
    ]
    assert ties_of([]).dtypes.astype(str).tolist() == ties.dtypes.astype(str).tolist()


def test_others_keep_their_ties_for_some_days() -> None:
    def ties(*rows: tuple[str, str, str]) -> pd.DataFrame:
        table = pd.DataFrame(rows, columns=["user_id", "query", "day"])
        return table.assign(trigger="milk", place=1)

    old = ties(
        ("h1", "butter", "2017-11-05"),
        ("h2", "tea", "2017-11-04"),
        ("h3", "jam", "2017-11-03"),
    )
    fresh = ties(("h1", "oat milk", "2017-11-06"))
    merged = merge_ties(old, fresh, date(2017, 11, 6), days=3)
    # h1 was reasoned for anew; what was reasoned for h3 is three days old.
    assert merged[["user_id", "query"]].to_dict("list") == {
        "user_id": ["h1", "h2"],
        "query": ["oat milk", "tea"],
    }


def entries(*pairs: tuple[str, str]) -> pd.DataFrame:
    table = pd.DataFrame(pairs, columns=["trigger", "query"])
    return table.assign(rank=1, score=0.5)


def test_how_the_index_of_yesterday_fared() -> None:
    old = entries(("milk", "butter"), ("milk", "tea"), ("rye bread", "jam"), ("soap", "towels"))
    new = entries(("milk", "butter"), ("soap", "towels"), ("soap", "jam"))
    rows = [("h1", "2017-11-05", "milk"), ("h2", "2017-11-06", "milk"), ("h3", "2017-11-01", "tea")]
    history = pd.DataFrame(rows, columns=["user_id", "time", "content"]).assign(kind="search")
    history["time"] = pd.to_datetime(history["time"])
    users = pd.Series(["h1", "h2", "h3", "stranger"])
    # Two of four pairs are gone. Only h1 did something before the 6th that is a trigger.
    assert of_yesterday(old, new, users, history, date(2017, 11, 6)) == {
        "churn": 0.5,
        "hit_users": 0.25,
    }
