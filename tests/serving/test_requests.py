"""A release answers requests with what was known at the second of each, and with nothing later."""

from collections.abc import Mapping
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_release import by_words

from aigq_tasks.errors import AigqError
from aigq_tasks.evaluation import category
from aigq_tasks.logs.behaviours import behaviours
from aigq_tasks.logs.schema import empty
from aigq_tasks.logs.validation import check_rows
from aigq_tasks.recall import cooccurrence, ebr, own_history, popularity, u2q
from aigq_tasks.recall.clusters import embedded
from aigq_tasks.recall.config import Candidates, ClusterConfig, EbrConfig, Exposure
from aigq_tasks.recall.x2q import X2qSource
from aigq_tasks.serving import stack as serving
from aigq_tasks.serving.requests import answering
from aigq_tasks.serving.stack import ReleaseStack, release_stack
from aigq_tasks.storage.tables import from_parquet, to_parquet
from ctr_model.config import TrainConfig
from ctr_model.features import FEATURES
from ctr_model.train import train

DAY = date(2017, 11, 6)
NOON = pd.Timestamp("2017-11-06 12:00:00")
ITEMS = {"1": "oat milk", "2": "rye bread", "3": "green tea", "4": "dish soap"}
QUERIES = ("milk", "oat milk", "rye bread", "bread", "green tea", "tea", "soap", "jam")
LEAF = {"milk": "dairy", "bread": "bread", "tea": "drinks", "soap": "household", "jam": "bread"}
USERS = [f"u{n}" for n in range(8)]
NO_REQUEST_OF = "u7"


class Held:
    """A stored result, without a store."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.all = dict(files)

    def files(self, prefix: str = "") -> dict[str, bytes]:
        own = {name: data for name, data in self.all.items() if name.startswith(prefix)}
        return {name.removeprefix(prefix): data for name, data in own.items()}

    def table(self, name: str) -> pd.DataFrame:
        return from_parquet(self.all[f"{name}.parquet"])


def log_of(days: int, last: date, seed: int = 0) -> dict[str, pd.DataFrame]:
    """Searches, item clicks and hints of some days that end with `last`."""
    draw = np.random.default_rng(seed)
    first = pd.Timestamp(last) - pd.Timedelta(days=days - 1)
    count = 40 * days
    seconds = np.sort(draw.integers(0, days * 86_400, count))
    times = (first + pd.to_timedelta(seconds, unit="s")).astype("datetime64[us]")
    users = draw.choice(USERS, count)
    search = draw.random(count) < 0.6
    searches = pd.DataFrame(
        {"user_id": users, "time": times, "query": draw.choice(QUERIES, count)}
    ).assign(event_id=[f"s{seed}-{n}" for n in range(count)])[search]
    items = draw.choice(list(ITEMS), count)
    clicks = pd.DataFrame({"user_id": users, "time": times, "item_id": items}).assign(
        event_id=[f"c{seed}-{n}" for n in range(count)], title=[ITEMS[item] for item in items]
    )[~search]
    shown = pd.DataFrame({"user_id": users, "time": times, "query": draw.choice(QUERIES, count)})
    clicked = draw.random(count) < 0.2
    shown = shown.assign(
        request_id=[f"h{seed}-{n}" for n in range(count)],
        position=1,
        source="popularity",
        rank_score=0.5,
        propensity=0.5,
        explored=False,
        clicked=clicked,
        click_time=shown["time"].where(clicked),
        release="first",
    )
    return {
        "searches": searches.reset_index(drop=True),
        "item_clicks": clicks.reset_index(drop=True),
        "search_clicks": empty("search_clicks"),
        "hint_impressions": shown,
        "late_clicks": empty("late_clicks"),
    }


BEFORE = log_of(20, date(2017, 11, 5))
TODAY = log_of(1, DAY, seed=1)


def recall_files() -> dict[str, bytes]:
    history, as_of = behaviours(BEFORE, ITEMS), pd.Timestamp(DAY)
    meanings = embedded(history, as_of, by_words, ClusterConfig(clusters=5), seed=1)
    units = {"text": None, "category": leaf, "cluster": meanings.cluster_of}
    made: dict[str, Any] = {
        "popularity": popularity.build(history, as_of),
        "own_history": own_history.build(history, as_of),
        "ebr": ebr.train(history, as_of, EbrConfig(dim=8, hidden=8, epochs=1), seed=1)[0],
        "embedded": meanings,
    }
    for kind in cooccurrence.KINDS:
        made[kind.name] = cooccurrence.build(history, as_of, kind, units[kind.unit])
    return {
        f"{part}/{name}": data
        for part, own in made.items()
        for name, data in own.to_files().items()
    }


def leaf(texts: list[str]) -> list[str]:
    return [LEAF.get(text.split()[-1], "") for text in texts]


def click_files() -> dict[str, bytes]:
    draw = np.random.default_rng(0)
    features = draw.random((900, len(FEATURES)), dtype=np.float32)
    days = np.repeat(np.arange("2017-11-03", "2017-11-06", dtype="M8[D]"), 300)
    clicked = features[:, FEATURES.index("visit_words")] + draw.random(900) > 1.4
    config = TrainConfig(num_threads=1, max_trees=30, min_rows_per_leaf=20)
    return train(features, clicked, days, config, seed=0).to_files()


@pytest.fixture(scope="module")
def stack() -> ReleaseStack:
    texts = pd.DataFrame({"item_id": list(ITEMS), "text": list(ITEMS.values())})
    lists = u2q.build({"u1": ["salt", "milk"], "u2": ["pepper"]}, DAY)
    index = pd.DataFrame(
        {
            "trigger": ["jam", "jam"],
            "rank": [1, 2],
            "query": ["butter", "toast"],
            "score": [0.9, 0.5],
        }
    )
    models = {
        "item-texts": Held({"item_texts.parquet": to_parquet(texts)}),
        "categories": Held(category.train([*LEAF.items(), ("oat milk", "dairy")]).to_files()),
        "recall": Held(recall_files()),
        "ctr": Held(click_files()),
        "u2q": Held({"u2q.parquet": to_parquet(lists)}),
        "x2q": Held({"x2q.parquet": to_parquet(index)}),
    }
    with pytest.MonkeyPatch.context() as patch:  # the sentence encoder takes a second
        patch.setattr(serving, "encoder", lambda: by_words)
        return release_stack(models, BEFORE, DAY, Candidates(), ("store brand",))


def requests_at(*asked: tuple[str, pd.Timestamp]) -> pd.DataFrame:
    rows = [(f"r{n}", user, time) for n, (user, time) in enumerate(asked)]
    table = pd.DataFrame(rows, columns=["request_id", "user_id", "time"])
    return table.astype({"request_id": "str", "user_id": "str", "time": "datetime64[us]"})


REQUESTS = requests_at(
    *((user, NOON + pd.Timedelta(minutes=37 * n)) for n in range(-6, 7) for user in USERS[:4])
)


def searched(user: str, time: pd.Timestamp, query: str) -> dict[str, pd.DataFrame]:
    row = {"event_id": ["new"], "user_id": [user], "time": [time], "query": [query]}
    return {"searches": pd.DataFrame(row).astype({"time": "datetime64[us]"})}


def test_what_it_serves_keeps_the_rules_of_the_log(stack: ReleaseStack) -> None:
    served = answering(stack, "one", Exposure(), 17)(REQUESTS, TODAY)
    assert check_rows("hint_rankings", served.rankings, DAY).reasons == {}
    assert served.exposures.groupby("request_id").size().eq(3).all()
    assert served.exposures["request_id"].unique().tolist() == REQUESTS["request_id"].tolist()
    assert set(served.exposures["release"]) == {"one"}
    assert served.features.columns.tolist()[0] == "request_id"
    assert set(served.features.columns) == {"request_id", *FEATURES}
    keys = ["request_id", "position"]
    pd.testing.assert_frame_equal(served.features[keys], served.exposures[keys])


def test_no_page_names_a_need_twice(stack: ReleaseStack) -> None:
    ranked = stack.asked(REQUESTS, TODAY).rankings
    for _, own in ranked.groupby("request_id"):
        first_words = [query.split()[0] for query in own["query"]]  # what `by_words` calls the same
        assert len(set(first_words)) == len(first_words)


def test_the_same_again_and_in_any_order(stack: ReleaseStack) -> None:
    answers = stack.asked(REQUESTS, TODAY)
    again = stack.asked(REQUESTS, TODAY).rankings
    pd.testing.assert_frame_equal(answers.rankings, again)
    mixed = REQUESTS.sample(frac=1, random_state=3, ignore_index=True)
    shuffled = {name: rows.sample(frac=1, random_state=4) for name, rows in TODAY.items()}
    other = stack.asked(mixed, shuffled).rankings
    by = ["request_id", "rank"]
    same(
        other.sort_values(by, ignore_index=True),
        answers.rankings.sort_values(by, ignore_index=True),
    )


def same(one: pd.DataFrame, other: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(one, other, rtol=1e-9)


@settings(deadline=None, max_examples=12)
@given(st.integers(0, 86_399), st.integers(0, 2**31))
def test_nothing_at_or_after_the_second_of_a_request_matters(
    stack: ReleaseStack, second: int, seed: int
) -> None:
    """What comes later is moved, taken away or given to others: rankings and features stay."""
    moment = pd.Timestamp(DAY) + pd.Timedelta(seconds=second)
    requests = requests_at(*((user, moment + pd.Timedelta(milliseconds=400)) for user in USERS[:5]))
    draw = np.random.default_rng(seed)
    changed = {}
    for name, rows in TODAY.items():
        late = rows["click_time"] if name == "late_clicks" else rows["time"]
        before, after = rows[late < moment], rows[late >= moment]
        after = after.sample(frac=0.7, random_state=int(draw.integers(1000)))
        if name == "searches":
            after = after.assign(query=draw.choice([*QUERIES, "new thing"], len(after)))
        if "user_id" in after:
            after = after.assign(user_id=draw.choice(USERS, len(after)))
        changed[name] = pd.concat([before, after]).sample(frac=1, random_state=1)
    one, other = stack.asked(requests, TODAY), stack.asked(requests, changed)
    same(one.rankings, other.rankings)
    shown = one.rankings[one.rankings["rank"] <= 3].rename(columns={"rank": "position"})
    same(one.features(shown), other.features(shown))


def test_a_search_changes_the_next_request_and_not_one_of_its_own_second(
    stack: ReleaseStack,
) -> None:
    at = NOON + pd.Timedelta(milliseconds=300)
    so_far = searched("u0", at, "jam")
    requests = requests_at(
        ("u0", NOON + pd.Timedelta(milliseconds=900)), ("u0", NOON + pd.Timedelta("1s"))
    )
    ranked = stack.asked(requests, so_far).rankings
    sources = {r: set(own["source"]) for r, own in ranked.groupby("request_id")}
    before = stack.asked(requests, {}).rankings
    first = ranked[ranked["request_id"] == "r0"].reset_index(drop=True)
    same(first, before[before["request_id"] == "r0"].reset_index(drop=True))
    assert "x2q" in sources["r1"]  # the latest trigger
    features = stack.asked(requests, so_far).features(
        pd.DataFrame({"request_id": ["r0", "r1"], "query": "jam", "position": [1, 2]})
    )
    assert features["visit_query_minutes"][0] > 1000  # the evening before
    assert features["visit_query_minutes"][1] == pytest.approx(0.7 / 60, rel=1e-4)
    assert features["position"].tolist() == [1, 2]


def test_a_click_on_a_hint_is_known_from_its_own_time_on(stack: ReleaseStack) -> None:
    shown = (
        TODAY["hint_impressions"]
        .head(1)
        .assign(
            user_id="u0",
            time=NOON,
            query="soap",
            clicked=True,
            click_time=NOON + pd.Timedelta(minutes=2),
        )
    )
    requests = requests_at(*(("u0", NOON + pd.Timedelta(minutes=m)) for m in (1, 3)))
    asked = pd.DataFrame({"request_id": ["r0", "r1"], "query": "soap", "position": 1})
    found = stack.asked(requests, {"hint_impressions": shown}).features(asked)
    assert found["visit_query_minutes"][0] > 1000  # the evening before
    assert found["visit_query_minutes"][1] == pytest.approx(1)


def test_when_the_day_begins_each_user_has_one_ranking(stack: ReleaseStack) -> None:
    ranked = stack.rank(["u3", "u1", "stranger"])
    assert ranked.columns.tolist() == ["user_id", "rank", "query", "source", "rank_score"]
    assert ranked["user_id"].unique().tolist() == ["stranger", "u1", "u3"]
    requests = requests_at(("u1", pd.Timestamp(DAY)))
    alone = stack.asked(requests, TODAY).rankings.drop(columns="request_id")
    same(ranked[ranked["user_id"] == "u1"].reset_index(drop=True), alone)
    shown = ranked[ranked["rank"] <= 2]
    found = stack.features(shown["user_id"], shown["query"], shown["rank"])
    assert found.columns.tolist() == list(FEATURES)
    assert found["position"].tolist() == shown["rank"].tolist()


def test_sources_can_be_left_out(stack: ReleaseStack) -> None:
    classic = stack.with_sources(["popularity", "own_history"])
    assert [source.name for source in classic.sources] == ["popularity", "own_history"]
    assert set(classic.rank(["u1"])["source"]) <= {"popularity", "own_history"}
    features = classic.features(pd.Series(["u1"]), pd.Series(["milk"]), pd.Series([1]))
    assert features["tie_text"].item() == 0.0  # who counts them is not there
    with pytest.raises(AigqError, match="no source rising"):
        stack.with_sources(["rising"])


def test_categories_of_new_wordings_are_known_when_serving(stack: ReleaseStack) -> None:
    kinds = {source.name: source for source in stack.sources}
    assert isinstance(kinds["x2q"], X2qSource)
    assert kinds["category"].units_of(["whole oat milk"]) == ["dairy"]
    assert kinds["cluster"].units_of(["oat something"]) == kinds["cluster"].units_of(["oat milk"])
