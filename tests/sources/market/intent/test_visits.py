from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest

from aigq_tasks.logs.validation import check_rows
from aigq_tasks.sources.market.intent.catalogue import load_catalogue, load_profiles
from aigq_tasks.sources.market.intent.config import IntentConfig
from aigq_tasks.sources.market.intent.draws import Purpose, uniform
from aigq_tasks.sources.market.intent.tendencies import tendencies
from aigq_tasks.sources.market.intent.visits import (
    Visit,
    kept_households,
    profiles,
    user_ids,
    visits_between,
)

DAY = date(2017, 11, 6)
SEED = 17
SOME = IntentConfig(households=600)
EVERYBODY_KNOWN = IntentConfig(households=600, cold_share=0.0)


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


def test_a_day_begins_when_hardly_anybody_shops() -> None:
    # Times are shifted by 8 hours: of all lines, 1 in 250 lies within an hour of midnight.
    hour = load_catalogue().lines["time"].dt.hour
    assert hour.isin([23, 0]).mean() < 0.004
    assert hour.value_counts().idxmax() in range(10, 17)


def test_a_visit_is_a_basket_of_three_needs_or_more() -> None:
    catalogue = load_catalogue()
    assert catalogue.lines.groupby("basket_id").size().min() == 3
    visits = visits_between(DAY, DAY + timedelta(days=1), EVERYBODY_KNOWN, SEED)
    lines = catalogue.between(DAY, DAY + timedelta(days=1))
    lines = lines[lines["household_id"].isin(kept_households(600, SEED))]
    for name, column in (("needs", "need"), ("products", "product_id"), ("paid_values", "value")):
        found = np.concatenate([getattr(visit, name) for visit in visits])
        assert found.tolist() == lines[column].tolist()
    assert [visit.basket for visit in visits] == lines["basket_id"].drop_duplicates().tolist()
    assert [visit.paid for visit in visits] == sorted(visit.paid for visit in visits)


def test_what_is_considered_is_typed_half_of_the_time_or_more() -> None:
    (visit, *_) = (v for v in visits_between(DAY, DAY, SOME, SEED) if v.considered.sum() > 1)
    chance = tendencies()
    lines = load_catalogue().lines
    rows = lines.index[lines["basket_id"] == visit.basket]
    draws = uniform(SEED, Purpose.CONSIDERED, visit.basket, visit.needs)
    assert visit.considered.tolist() == (draws < chance.considered[rows]).tolist()
    expected = np.where(visit.considered, np.maximum(0.5, chance.typed[rows]), chance.typed[rows])
    assert visit.typed.tolist() == expected.tolist()


def test_a_day_does_not_depend_on_the_days_around_it() -> None:
    alone = visits_between(DAY, DAY, SOME, SEED)
    wide = visits_between(DAY - timedelta(days=1), DAY + timedelta(days=1), SOME, SEED)
    (today,) = {v.paid.astype("M8[D]") for v in alone}
    assert str(today) == str(DAY)

    def told(visit: Visit) -> tuple[object, ...]:
        return (visit.basket, visit.needs.tolist(), visit.typed.tolist(), visit.considered.tolist())

    same = [told(v) for v in wide if v.paid.astype("M8[D]") == today]
    assert [told(v) for v in alone] == same


def test_kept_households_nest() -> None:
    few, more = kept_households(50, SEED), kept_households(200, SEED)
    assert len(set(few)) == 50
    assert set(few) < set(more)
    visits = visits_between(DAY, DAY, IntentConfig(households=200), SEED)
    assert {visit.household for visit in visits} <= set(more)


def test_cold_households_change_their_id_every_week() -> None:
    households = np.arange(1, 2001)
    # Epoch weeks begin on Thursdays: 2017-11-02 and 2017-11-08 share one, 2017-11-09 is the next.
    ids = [
        user_ids(households, np.full(2000, np.datetime64(day, "us")), IntentConfig(), SEED)
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


def test_profiles_are_known_for_recognised_households_of_the_survey_only() -> None:
    # Household 1 is in the survey (65+, 35-49K, 2 Adults No Kids), household 2 is not.
    assert 2 not in load_profiles()["household_id"].to_numpy()
    users = pd.DataFrame({"user_id": ["h2", "h1", "h1w2496", "h1"], "household_id": [2, 1, 1, 1]})
    assert profiles(users).to_dict("list") == {
        "user_id": ["h1", "h1w2496", "h2"],
        "attributes": ["65+; 35-49k; 2 adults no kids", "", ""],
    }
    assert check_rows("users", profiles(users), DAY).reasons == {}
