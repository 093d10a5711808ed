import numpy as np
import pandas as pd

from aigq_tasks.context.queries import MAX_CHARS, MAX_WORDS, normalize
from aigq_tasks.sources.market.intent.catalogue import load_catalogue
from aigq_tasks.sources.market.intent.lexicon import (
    load_phrasings,
    phrasings_by_rule,
    told_apart,
)


def need_of(category: str, product_type: str) -> int:
    needs = load_catalogue().needs
    here = (needs["category"] == category) & (needs["product_type"] == product_type)
    return int(needs.loc[here, "need"].iloc[0])


BRAEBURN = need_of("APPLES", "APPLES BRAEBURN (BULK&BAG)")


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
    differs = [set(p) != set(q) for p, q in zip(load_phrasings(), by_rule, strict=True)]
    assert needs.loc[differs, "baskets"].sum() / needs["baskets"].sum() > 0.94


def test_names_tell_needs_apart() -> None:
    # The commonest need chooses first. The second finds "milk" taken, the third both of its own.
    phrasings = [("milk", "whole milk"), ("milk", "2 percent milk"), ("whole milk", "milk")]
    assert told_apart(phrasings, np.array([5, 9, 3])) == (
        ("whole milk", "milk"),
        ("milk", "2 percent milk"),
        ("whole milk", "milk"),
    )


def test_few_lines_are_of_needs_whose_name_another_has_too() -> None:
    baskets = load_catalogue().needs["baskets"].to_numpy()
    heads = pd.Series([phrases[0] for phrases in load_phrasings()])
    shared = heads.duplicated(keep=False).to_numpy()
    assert baskets[shared].sum() / baskets.sum() < 0.02
