from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigq_tasks.sources.market.catalogue import load_catalogue
from aigq_tasks.sources.market.clicks import (
    Basket,
    click_probability,
    examine,
    interpret,
    match,
    needs_named,
)
from aigq_tasks.sources.market.config import MarketConfig
from aigq_tasks.sources.market.oracle import baskets_of_users, needs_met
from aigq_tasks.sources.market.visits import own_phrases, visits_between

SEED = 17
(BRAEBURN,) = interpret("braeburn apples")[0]  # the only need of that name
(FUJI,) = interpret("fuji apples")[0]


def household_that_types(phrase: str) -> int:
    households = np.arange(1, 1000)
    own = own_phrases(households, np.full(999, BRAEBURN), SEED)
    return 1 + own.index(phrase)


PLAIN = household_that_types("braeburn apples")
FANCY = household_that_types("braeburn apple family size")


@pytest.mark.parametrize(
    ("query", "needs", "modifier"),
    [
        ("braeburn apples", (BRAEBURN,), ""),
        ("braeburn apple", (BRAEBURN,), ""),
        ("braeburn apples organic", (BRAEBURN,), "organic"),
        ("braeburn apples store brand", (BRAEBURN,), "store brand"),
        ("apples braeburn", (BRAEBURN,), ""),  # other order
        ("fresh braeburn apples", (BRAEBURN,), ""),  # a word more
        ("two fresh braeburn apples", (), ""),  # two words more
        ("on sale", (), ""),  # a modifier of nothing
        ("zzz", (), ""),
        ("", (), ""),
    ],
)
def test_interpret(query: str, needs: tuple[int, ...], modifier: str) -> None:
    assert interpret(query) == (needs, modifier)


def test_a_phrase_may_name_several_needs() -> None:
    needs, _ = interpret("adult incontinence")
    table = load_catalogue().needs.iloc[list(needs)]
    assert len(table) > 1
    assert set(table["category"]) == {"ADULT INCONTINENCE"}


@pytest.mark.parametrize(
    ("household", "query", "quality", "met"),
    [
        (PLAIN, "braeburn apples", 1.0, BRAEBURN),  # its own words
        (PLAIN, "braeburn apple", 0.8, BRAEBURN),  # other words
        (PLAIN, "apples braeburn", 0.8, BRAEBURN),
        (PLAIN, "braeburn apples organic", 0.7, BRAEBURN),  # not its modifier
        (FANCY, "braeburn apple family size", 1.0, BRAEBURN),
        (FANCY, "braeburn apple", 0.8, BRAEBURN),
        (FANCY, "braeburn apple organic", 0.7, BRAEBURN),
        (PLAIN, "fuji apples", 0.08, -1),  # the same shelf
        (PLAIN, "plain yogurt", 0.0, -1),
        (PLAIN, "zzz", 0.0, -1),
    ],
)
def test_match_against_a_basket_of_braeburn_apples(
    household: int, query: str, quality: float, met: int
) -> None:
    assert match(query, Basket.of(household, [BRAEBURN]), SEED) == (quality, met)


def test_an_empty_basket_meets_nothing() -> None:
    assert match("braeburn apples", Basket.of(PLAIN, []), SEED) == (0.0, -1)


@pytest.mark.parametrize(
    ("quality", "position", "hours", "satisfied", "expected"),
    [
        # examine · (0.006 + 0.7 · quality · exp(-hours / 36) · (0.15 if satisfied))
        (1.0, 1, 0.0, False, 0.706),
        (0.0, 1, 0.0, False, 0.006),
        (0.0, 3, 40.0, True, 0.52 * 0.006),
        # 0.72 · (0.006 + 0.7 · 0.8 · 0.367879) = 0.72 · 0.212012
        (0.8, 2, 36.0, False, 0.152649),
        # 0.52 · (0.006 + 0.7 · 0.15) = 0.52 · 0.111
        (1.0, 3, 0.0, True, 0.05772),
        # 0.52 · (0.52 / 0.72) · 0.706
        (1.0, 4, 0.0, False, 0.265142),
    ],
)
def test_click_probability(
    quality: float, position: int, hours: float, satisfied: bool, expected: float
) -> None:
    assert click_probability(quality, position, hours, satisfied) == pytest.approx(
        expected, abs=1e-6
    )


def test_beyond_the_third_position_attention_goes_on_falling_as_it_fell() -> None:
    # 0.72 -> 0.52 is a factor of 0.7222: 0.52 · 0.7222, then once more.
    assert [examine(position) for position in (1, 2, 3)] == [1.0, 0.72, 0.52]
    assert [examine(4), examine(5)] == pytest.approx([0.375556, 0.271235], abs=1e-6)
    assert 0 < examine(100) < examine(99)


@given(
    quality=st.floats(0, 1),
    position=st.integers(1, 12),
    hours=st.floats(0, 48),
    satisfied=st.booleans(),
)
def test_click_probability_falls_with_every_obstacle(
    quality: float, position: int, hours: float, satisfied: bool
) -> None:
    p = click_probability(quality, position, hours, satisfied)
    assert 0 < p <= 0.706
    assert p <= click_probability(1.0, position, hours, satisfied)
    assert p <= click_probability(quality, position, 0.0, satisfied)
    assert p <= click_probability(quality, position, hours, False)
    assert p <= click_probability(quality, 1, hours, satisfied)


def test_the_needs_that_a_query_names_by_hand() -> None:
    basket = Basket.of(PLAIN, [BRAEBURN])
    assert needs_named("braeburn apples", basket, SEED) == {BRAEBURN: 1.0}  # in her own words
    assert needs_named("braeburn apple", basket, SEED) == {BRAEBURN: 0.8}
    assert needs_named("fuji apples", basket, SEED) == {FUJI: 0.0}  # named, and not in the basket
    assert needs_named("zzz", basket, SEED) == {}


def test_needs_met_are_those_of_the_user() -> None:
    baskets = {"a": Basket.of(PLAIN, [BRAEBURN])}
    users = ["a", "a", "nobody", "nobody"]
    met = needs_met(users, ["braeburn apples", "zzz", "braeburn apples", "zzz"], baskets, SEED)
    assert met[:2] == [{str(BRAEBURN): 1.0}, {}]
    # Of somebody without a visit it is known what a query names, not whether it is needed.
    assert list(met[2]) == [str(BRAEBURN)]
    assert np.isnan(met[2][str(BRAEBURN)])
    assert met[3] == {}
    assert needs_met([], [], baskets, SEED) == []


def test_baskets_of_users_are_all_that_they_need_on_the_day() -> None:
    day, config = date(2017, 11, 6), MarketConfig(households=300, cold_share=0.0)
    baskets = baskets_of_users(day, config, SEED)
    needs = visits_between(day, day, config, SEED).needs
    assert {f"h{household}" for household in needs["household_id"]} == set(baskets)
    shelves = load_catalogue().needs["category"]
    for user, basket in baskets.items():
        own = needs[needs["household_id"] == basket.household]
        assert user == f"h{basket.household}"
        assert basket.needs == frozenset(own["need"])
        assert basket.shelves == frozenset(shelves.iloc[sorted(basket.needs)])
