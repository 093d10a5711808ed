import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigq_tasks.context.queries import MAX_CHARS, MAX_WORDS, normalize
from aigq_tasks.sources.market.catalogue import load_catalogue
from aigq_tasks.sources.market.lexicon import (
    choose_phrasing,
    load_phrasings,
    phrasings_by_rule,
    uniform,
)

NEEDS = len(load_phrasings())


def need_of(category: str, product_type: str) -> int:
    needs = load_catalogue().needs
    here = (needs["category"] == category) & (needs["product_type"] == product_type)
    return int(needs.loc[here, "need"].iloc[0])


BRAEBURN = need_of("APPLES", "APPLES BRAEBURN (BULK&BAG)")


@pytest.mark.parametrize(
    ("seed", "first_output"), [(0, 0xE220A8397B1DCDAF), (1234567, 6457827717110365317)]
)
def test_uniform_is_splitmix64(seed: int, first_output: int) -> None:
    # With salt 0 and no key the state is the seed alone: the published first outputs of
    # splitmix64, whose upper 53 bits are the fraction.
    assert float(uniform(seed, 0)) == (first_output >> 11) / 2**53


def test_uniform_has_a_value_per_key_and_broadcasts() -> None:
    keys = np.arange(5)
    grid = uniform(17, 1, keys[:, None], np.arange(3)[None])
    assert grid.shape == (5, 3)
    assert grid[4, 2] == uniform(17, 1, np.array([4]), np.array([2]))[0]


def test_uniform_is_uniform_and_its_salts_are_independent() -> None:
    n = 20_000
    keys = np.arange(n)
    one, two = uniform(17, 1, keys), uniform(17, 2, keys)
    # Standard error of a decile's share: sqrt(0.1 · 0.9 / n) = 0.0021; five of them.
    shares = np.histogram(one, bins=10, range=(0, 1))[0] / n
    assert np.abs(shares - 0.1).max() < 0.011
    # Standard error of a correlation of independent draws: 1 / sqrt(n) = 0.0071.
    assert abs(np.corrcoef(one, two)[0, 1]) < 0.03
    assert abs(np.corrcoef(one[1:], one[:-1])[0, 1]) < 0.03


@given(seed=st.integers(0, 2**32), key=st.integers(0, 2**62), other=st.integers(0, 2**62))
def test_uniform_of_a_key_depends_on_no_other_key(seed: int, key: int, other: int) -> None:
    alone = uniform(seed, 3, np.array([key]))[0]
    assert uniform(seed, 3, np.array([other, key]))[1] == alone
    assert 0.0 <= alone < 1.0


def test_the_rule_spells_abbreviations_out() -> None:
    # "FRZN SS CHIX DNRS" = frozen, single serve, chicken, dinners; what a bracket holds is
    # dropped; at most four words; the second phrase is three of them and the shelf's first word,
    # which "frozen" already is.
    assert phrasings_by_rule("FRZN MEAT", "FRZN SS CHIX DNRS (SINGLE)") == (
        "frozen single serve chicken",
        "frozen single serve",
    )


def test_the_rule_drops_words_that_say_nothing() -> None:
    # Left of "MISC COOKIES ALL OTHER": cookies; of the shelf "BISCUITS/ETC": biscuits.
    assert phrasings_by_rule("BISCUITS/ETC", "MISC COOKIES ALL OTHER") == (
        "cookies",
        "cookies biscuits",
    )


def test_the_rule_falls_back_to_the_category() -> None:
    assert phrasings_by_rule("MISC/ETC.", "ALL OTHER") == ("misc etc",)


def test_hand_written_phrasings_win_over_the_rule() -> None:
    written = ("braeburn apples", "braeburn apple", "bag of braeburn apples")
    assert load_phrasings()[BRAEBURN] == written


def test_every_phrasing_is_a_query_that_a_shopper_could_send() -> None:
    for phrases in load_phrasings():
        assert len(set(phrases)) == len(phrases) >= 1
        for phrase in phrases:
            assert phrase == normalize(phrase) != ""
            assert len(phrase) <= MAX_CHARS
            assert len(phrase.split()) <= MAX_WORDS


def test_the_hand_written_part_covers_nineteen_in_twenty_basket_lines() -> None:
    needs = load_catalogue().needs
    by_rule = [
        phrasings_by_rule(category, kind)
        for category, kind in zip(needs["category"], needs["product_type"], strict=True)
    ]
    differs = [p != q for p, q in zip(load_phrasings(), by_rule, strict=True)]
    assert needs.loc[differs, "baskets"].sum() / needs["baskets"].sum() > 0.94


@pytest.mark.parametrize(
    ("draw", "phrase"),
    [
        # Three phrasings share 0.46 : 0.28 : 0.16, that is 0.511, 0.311 and 0.178 of 1:
        # the cuts lie at 0.511 and 0.822.
        (0.0, "braeburn apples"),
        (0.510, "braeburn apples"),
        (0.512, "braeburn apple"),
        (0.821, "braeburn apple"),
        (0.823, "bag of braeburn apples"),
        (0.999999, "bag of braeburn apples"),
    ],
)
def test_choose_phrasing_by_share(draw: float, phrase: str) -> None:
    assert choose_phrasing(BRAEBURN, draw) == phrase


@given(need=st.integers(0, NEEDS - 1), draw=st.floats(0, 1, exclude_max=True))
def test_choose_phrasing_always_finds_one(need: int, draw: float) -> None:
    assert choose_phrasing(need, draw) in load_phrasings()[need]
