import ibis
import pandas as pd
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aigq_tasks.context.queries import normalize
from aigq_tasks.samples.labels import direct_candidates, normalized, rerank, think_candidates
from aigq_tasks.samples.sessions import direct_sessions, think_sessions


def at(hour: str) -> pd.Timestamp:
    return pd.Timestamp(f"2017-11-06T{hour}:00")


IMPRESSIONS = pd.DataFrame(
    [
        ("r2", "h1", at("10"), 3, "rye bread", True),
        ("r2", "h1", at("10"), 1, "Milk ", True),
        ("r2", "h1", at("10"), 2, "tea", False),
        ("r1", "h2", at("09"), 2, "beer", True),
        ("r3", "h3", at("08"), 1, "milk", False),
        ("r4", "h1", at("12"), 1, "eggs", True),
    ],
    columns=["request_id", "user_id", "time", "position", "query", "clicked"],
)
SEARCHES = pd.DataFrame(
    [
        ("s2", "h1", at("11"), "butter"),
        ("s1", "h1", at("09"), "MILK"),
        ("s3", "h4", at("07"), "?!"),
    ],
    columns=["event_id", "user_id", "time", "query"],
)
ITEM_CLICKS = pd.DataFrame({"user_id": ["h2", "h5"], "time": [at("06"), at("06")]})
RANKINGS = pd.DataFrame(
    {
        "request_id": ["r2", "r2", "r2", "r1", "r4"],
        "user_id": ["h1"] * 3 + ["h2", "h1"],
        "rank": [2, 1, 3, 1, 2],
        "query": ["tea", "milk", "honey", "tea", "ham"],
    }
)
GENERATED = pd.DataFrame(
    {"user_id": ["h1", "h1", "h2"], "place": [1, 2, 1], "query": ["jam", "tea", "beer"]}
)
impressions, searches, item_clicks, rankings, generated = map(
    ibis.memtable, (IMPRESSIONS, SEARCHES, ITEM_CLICKS, RANKINGS, GENERATED)
)


def lists(table: pd.DataFrame) -> dict[str, list[str]]:
    return {str(key): rows["query"].tolist() for key, rows in table.groupby("session_id")}


def test_direct_sessions_and_labels() -> None:
    sessions = direct_sessions(impressions)
    found = sessions.order_by("session_id").to_pandas()
    assert [tuple(row) for row in found.itertuples(index=False)] == [
        ("r1", "h2", at("09")),
        ("r2", "h1", at("10")),
        ("r4", "h1", at("12")),
    ]
    candidates = direct_candidates(sessions, impressions, rankings)
    # Eq 3: the clicks of this exposure by position, then the request's ranking; milk only once.
    assert lists(rerank(candidates, 4).to_pandas()) == {
        "r1": ["beer", "tea"],
        "r2": ["milk", "rye bread", "tea", "honey"],
        "r4": ["eggs", "ham"],
    }
    assert lists(rerank(candidates, 2).to_pandas())["r2"] == ["milk", "rye bread"]


def test_think_sessions_and_labels() -> None:
    sessions = think_sessions(impressions, searches, item_clicks, "2017-11-06")
    found = sessions.order_by("session_id").to_pandas()
    # From the first event of any kind; h3 and h5 gave no feedback.
    assert [tuple(row) for row in found.itertuples(index=False)] == [
        ("h1|2017-11-06", "h1", at("09")),
        ("h2|2017-11-06", "h2", at("06")),
        ("h4|2017-11-06", "h4", at("07")),
    ]
    candidates = think_candidates(sessions, impressions, searches, rankings, generated)
    ranked = rerank(candidates, 10).to_pandas()
    # Eq 4: clicks of the whole day, searches, ranking, proposals. "?!" is no query at all.
    assert lists(ranked) == {
        "h1|2017-11-06": ["milk", "rye bread", "eggs", "butter", "ham", "tea", "honey", "jam"],
        "h2|2017-11-06": ["beer", "tea"],
    }
    tiers = ranked[ranked["session_id"] == "h1|2017-11-06"]["tier"].tolist()
    assert tiers == [0, 0, 0, 1, 2, 2, 2, 3]
    assert ranked.groupby("session_id")["rank"].agg(list).map(lambda r: r == sorted(r)).all()


@settings(deadline=None, max_examples=30)
@given(st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=30))
@example("Crème  BRÛLÉE \t42")
@example("\u212a")  # the Kelvin sign: its lower case is the letter k
def test_normalized_is_normalize(text: str) -> None:
    table = ibis.memtable(pd.DataFrame({"text": [text]}))
    assert table.select(out=normalized(table.text)).to_pandas()["out"][0] == normalize(text)
