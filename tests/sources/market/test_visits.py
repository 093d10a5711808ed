from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest

from aigq_tasks.logs.validation import check_rows
from aigq_tasks.sources.market.catalogue import load_catalogue, load_profiles
from aigq_tasks.sources.market.config import LOOKAHEAD_DAYS, MarketConfig
from aigq_tasks.sources.market.items import common_phrases, items_of
from aigq_tasks.sources.market.lexicon import MODIFIERS, load_phrasings
from aigq_tasks.sources.market.visits import (
    HABIT,
    MODIFIER_SHARE,
    kept_households,
    own_phrases,
    profiles,
    requests_on,
    search_clicks,
    searches_and_clicks,
    user_ids,
    visits_between,
)

DAY = date(2017, 11, 6)
SEED = 17
SOME = MarketConfig(households=600)
EVERYBODY_KNOWN = MarketConfig(households=600, cold_share=0.0)


def events(table: pd.DataFrame) -> pd.DataFrame:
    """visit and need of each event, from its id ("s<visit>-<need>")."""
    pair = table["event_id"].str[1:].str.split("-", expand=True).astype("int64")
    return pair.set_axis(["visit_id", "need"], axis=1)


def test_catalogue_counts_a_need_once_per_basket() -> None:
    catalogue = load_catalogue()
    assert not catalogue.lines.duplicated(["basket_id", "need"]).any()
    assert catalogue.lines["time"].is_monotonic_increasing
    assert catalogue.needs["need"].tolist() == list(range(len(catalogue.needs)))
    assert int(catalogue.needs["baskets"].sum()) == len(catalogue.lines)


def test_catalogue_has_no_fuel_and_no_coupons() -> None:
    needs = load_catalogue().needs
    text = needs["category"] + " " + needs["product_type"]
    assert not text.str.contains("COUPON|GASOLINE").any()


def test_between_holds_both_ends() -> None:
    catalogue = load_catalogue()
    three = catalogue.between(DAY, DAY + timedelta(days=2))
    days = {str(day)[:10] for day in three["time"].to_numpy().astype("M8[D]")}
    assert days == {"2017-11-06", "2017-11-07", "2017-11-08"}
    singles = [
        catalogue.between(DAY + timedelta(days=n), DAY + timedelta(days=n)) for n in (0, 1, 2)
    ]
    pd.testing.assert_frame_equal(three, pd.concat(singles))


def test_the_same_seed_and_day_give_equal_tables() -> None:
    first, second = (
        (*searches_and_clicks(visits_between(DAY, DAY, SOME, SEED), SOME, SEED),
         requests_on(DAY, SOME, SEED))
        for _ in range(2)
    )  # fmt: skip
    for one, two in zip(first, second, strict=True):
        pd.testing.assert_frame_equal(one, two)
    other = searches_and_clicks(visits_between(DAY, DAY, SOME, SEED), SOME, SEED + 1)[0]
    assert not other["query"].equals(first[0]["query"])


def test_a_day_does_not_depend_on_the_days_around_it() -> None:
    alone = searches_and_clicks(visits_between(DAY, DAY, SOME, SEED), SOME, SEED)
    wide = visits_between(DAY - timedelta(days=1), DAY + timedelta(days=1), SOME, SEED)
    for one, many in zip(alone, searches_and_clicks(wide, SOME, SEED), strict=True):
        today = many[many["time"].to_numpy().astype("M8[D]") == np.datetime64(DAY)]
        pd.testing.assert_frame_equal(one, today.reset_index(drop=True))


def test_a_visit_is_a_basket_and_stays_within_its_day() -> None:
    visits = visits_between(DAY, DAY, SOME, SEED)
    searches, clicks = searches_and_clicks(visits, SOME, SEED)
    for name, table in (("searches", searches), ("item_clicks", clicks)):
        checked = check_rows(name, table, DAY)  # the log's own rules, the day among them
        assert checked.reasons == {}
        assert len(checked.good) == len(table) > 0
    paid = load_catalogue().between(DAY, DAY).drop_duplicates("basket_id").set_index("basket_id")
    before = (
        paid["time"].loc[visits.visits["visit_id"]].to_numpy() - visits.visits["start"].to_numpy()
    )
    assert (before >= np.timedelta64(0, "s")).all()
    assert (before <= np.timedelta64(40, "m")).all()
    starts = visits.visits.set_index("visit_id")["start"]
    after = searches["time"].to_numpy() - starts.loc[events(searches)["visit_id"]].to_numpy()
    assert (after > np.timedelta64(0, "s")).all()


def test_one_to_three_needs_are_searched_and_the_rest_clicked() -> None:
    visits = visits_between(DAY, DAY + timedelta(days=2), SOME, SEED)
    searches, clicks = (events(t) for t in searches_and_clicks(visits, SOME, SEED))
    basket = visits.needs.groupby("visit_id")["need"].agg(set)
    searched = searches.groupby("visit_id")["need"].agg(set)
    clicked = clicks.groupby("visit_id")["need"].agg(set)
    for visit, needs in basket.items():
        done = clicked.get(visit, set())
        assert searched[visit].isdisjoint(done)
        rest = len(needs) - len(searched[visit])
        assert len(done) == min(rest, 20)
        assert searched[visit] | done <= needs
    # Baskets that could hold three searches have 1, 2 or 3 of them with shares 0.35, 0.35, 0.30.
    counts = searched[basket.map(len) >= 3].map(len).value_counts(normalize=True).sort_index()
    assert counts.index.tolist() == [1, 2, 3]
    n = int((basket.map(len) >= 3).sum())
    error = 4 * np.sqrt(0.35 * 0.65 / n)
    assert counts.to_numpy() == pytest.approx([0.35, 0.35, 0.30], abs=error)


def test_rare_needs_are_searched_more_often_than_common_ones() -> None:
    visits = visits_between(DAY, DAY + timedelta(days=2), SOME, SEED)
    searches, _ = searches_and_clicks(visits, SOME, SEED)
    frequency = load_catalogue().needs["baskets"]
    searched = frequency.loc[events(searches)["need"]].median()
    assert searched < 0.8 * frequency.loc[visits.needs["need"]].median()


def test_a_household_types_its_own_phrase() -> None:
    visits = visits_between(DAY, DAY + timedelta(days=2), EVERYBODY_KNOWN, SEED)
    searches, _ = searches_and_clicks(visits, EVERYBODY_KNOWN, SEED)
    needs = events(searches)["need"]
    households = searches["user_id"].str[1:].astype("int64")
    own = own_phrases(np.array(households), np.array(needs), SEED)
    share = float(np.mean(searches["query"].to_numpy() == np.array(own, dtype=object)))
    # HABIT = 0.90 of the searches use it, and some of the other tenth fall on it by chance: the
    # first phrasing of two is drawn with 0.62 at most, by those without a modifier.
    error = 4 * np.sqrt(0.09 / len(searches))
    assert HABIT - error < share < HABIT + 0.1 * 0.62 + error
    # Otherwise it is still a phrasing of the need that lies in the basket.
    other = [q in load_phrasings()[n] for q, n in zip(searches["query"], needs, strict=True)]
    assert all(np.array(other) | (searches["query"].to_numpy() == np.array(own, dtype=object)))


def test_a_phrase_belongs_to_household_and_need() -> None:
    households = range(1, 1501)
    phrases = own_phrases(np.array(households), np.full(len(households), 73), SEED)
    assert phrases == [
        own_phrases(np.array([h]), np.array([73]), SEED)[0] for h in households
    ]  # alone as together
    stems = set(load_phrasings()[73])
    added = [p for p in phrases if p not in stems]
    assert {p.removesuffix(f" {m}") for p in added for m in MODIFIERS if p.endswith(m)} <= stems
    assert {m for p in added for m in MODIFIERS if p.endswith(m)} == set(MODIFIERS)
    error = 4 * np.sqrt(MODIFIER_SHARE * (1 - MODIFIER_SHARE) / 1500)
    assert len(added) / 1500 == pytest.approx(MODIFIER_SHARE, abs=error)


def test_kept_households_nest() -> None:
    few, more = kept_households(50, SEED), kept_households(200, SEED)
    assert len(set(few)) == 50
    assert set(few) < set(more)
    visits = visits_between(DAY, DAY, MarketConfig(households=200), SEED).visits
    assert set(visits["household_id"]) <= set(more)


def test_cold_households_change_their_id_every_week() -> None:
    households = np.arange(1, 2001)
    # Epoch weeks begin on Thursdays: 2017-11-02 and 2017-11-08 share one, 2017-11-09 is the next.
    ids = [
        user_ids(households, np.full(2000, np.datetime64(day, "us")), MarketConfig(), SEED)
        for day in ("2017-11-02", "2017-11-08T23:59", "2017-11-09")
    ]
    assert (ids[0] == ids[1]).all()
    cold = ids[0] != ids[2]
    error = 4 * np.sqrt(0.06 * 0.94 / 2000)
    assert cold.mean() == pytest.approx(0.06, abs=error)
    assert ids[0][~cold].tolist() == [f"h{h}" for h in households[~cold]]
    # 2017-11-02 is day 17472 of the epoch, week 2496.
    assert ids[0][cold].tolist() == [f"h{h}w2496" for h in households[cold]]
    known = user_ids(households, np.full(2000, np.datetime64(DAY)), EVERYBODY_KNOWN, SEED)
    assert known.tolist() == [f"h{h}" for h in households]


def test_requests_precede_their_visit_by_up_to_two_days() -> None:
    day = DAY + timedelta(days=LOOKAHEAD_DAYS)
    logged = pd.concat(
        [requests_on(DAY + timedelta(days=n), SOME, SEED) for n in range(LOOKAHEAD_DAYS + 1)]
    )
    mine = logged[logged["visit_start"].to_numpy().astype("M8[D]") == np.datetime64(day)]
    assert not mine["request_id"].duplicated().any()
    gap = mine["visit_start"].to_numpy() - mine["time"].to_numpy()
    assert (gap >= np.timedelta64(0, "s")).all()
    assert (gap < np.timedelta64(48, "h")).all()
    first = mine["request_id"].str.endswith("-0").to_numpy()
    assert (gap[first] == np.timedelta64(0, "s")).all()
    # Nobody's request is lost or counted twice: numbers 0..n-1 of every visit of the day.
    visits = visits_between(day, day, SOME, SEED).visits
    nth = mine["request_id"].str.rsplit("-", n=1).str[1].astype("int64")
    numbers = nth.groupby(mine["visit_id"]).agg(sorted)
    assert sorted(numbers.index) == sorted(visits["visit_id"])
    assert all(row == list(range(len(row))) for row in numbers)
    # 1 + Poisson(6.5) a visit: variance 6.5.
    mean = len(mine) / len(visits)
    assert mean == pytest.approx(7.5, abs=4 * np.sqrt(6.5 / len(visits)))


def test_requests_are_of_their_day_and_in_order() -> None:
    requests = requests_on(DAY, SOME, SEED)
    assert (requests["time"].to_numpy().astype("M8[D]") == np.datetime64(DAY)).all()
    assert requests["time"].is_monotonic_increasing
    again = requests.sort_values(["time", "request_id"], ignore_index=True)
    pd.testing.assert_frame_equal(requests, again)


def test_profiles_are_known_for_recognised_households_of_the_survey_only() -> None:
    # Household 1 is in the survey (65+, 35-49K, 2 Adults No Kids), household 2 is not.
    assert 2 not in load_profiles()["household_id"].to_numpy()
    users = pd.DataFrame({"user_id": ["h2", "h1", "h1w2496", "h1"], "household_id": [2, 1, 1, 1]})
    assert profiles(users).to_dict("list") == {
        "user_id": ["h1", "h1w2496", "h2"],
        "attributes": ["65+; 35-49k; 2 adults no kids", "", ""],
    }
    assert check_rows("users", profiles(users), DAY).reasons == {}


def test_items_of_a_days_clicks() -> None:
    _, clicks = searches_and_clicks(visits_between(DAY, DAY, SOME, SEED), SOME, SEED)
    items = items_of(clicks["item_id"])
    assert items["item_id"].tolist() == sorted(set(clicks["item_id"]))
    assert check_rows("items", items, DAY).reasons == {}
    title = items.set_index("item_id")["title"]
    assert title.loc[clicks["item_id"]].tolist() == clicks["title"].tolist()
    parts = items["attributes"].str.split("; ")
    assert set(parts.str[0]) == {"store brand", "name brand"}
    assert parts.str[1].tolist() == items["category"].tolist()
    brand, category, product_type, size = parts[0]
    assert items["title"][0] == " ".join([brand, product_type, category, size]).lower()


def test_a_click_on_a_search_result_is_of_a_searched_item() -> None:
    visits = visits_between(DAY, DAY, SOME, SEED)
    searches, _ = searches_and_clicks(visits, SOME, SEED)
    found = search_clicks(visits, SOME, SEED)
    assert check_rows("search_clicks", found, DAY).reasons == {}
    joined = found.merge(searches, on="event_id", suffixes=("", "_s"), validate="one_to_one")
    assert len(joined) == len(found)
    assert (joined["time"] == joined["time_s"]).all()
    assert (joined["user_id"] == joined["user_id_s"]).all()
    assert 0.6 < len(found) / len(searches) < 0.8  # FOUND = 0.7
    # "s<visit>-<need>": the item is what the visit bought for the need.
    needs = visits.needs
    bought = needs.assign(
        event_id=[f"s{v}-{n}" for v, n in zip(needs["visit_id"], needs["need"], strict=True)],
        item_id=needs["product_id"].astype(str),
    )
    assert len(found.merge(bought, on=["event_id", "item_id"])) == len(found)


def test_only_the_market_knows_the_common_phrase_of_an_item() -> None:
    _, clicks = searches_and_clicks(visits_between(DAY, DAY, SOME, SEED), SOME, SEED)
    phrases = common_phrases(clicks["item_id"].unique())
    assert set(phrases) == set(clicks["item_id"])
    needs = clicks["event_id"].str.split("-").str[1].astype(int)
    own = [load_phrasings()[need][0] for need in needs]
    assert [phrases[item] for item in clicks["item_id"]] == own
