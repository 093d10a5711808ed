import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigq_tasks.context.queries import is_allowed
from aigq_tasks.sources.market.intent.catalogue import load_catalogue
from aigq_tasks.sources.market.intent.lexicon import load_phrasings
from aigq_tasks.sources.market.intent.modifiers import modifier_words, modifiers_of
from aigq_tasks.sources.market.intent.reading import interpret, misspellings
from aigq_tasks.sources.market.intent.rules import INTENTS
from aigq_tasks.sources.market.intent.wording import (
    match,
    own_wordings,
    typed_wordings,
    variants,
    wording,
)

SEED = 17
NEEDS = len(load_phrasings())
(BRAEBURN,) = interpret("braeburn apples")  # the only need of that name


@pytest.mark.parametrize(
    ("query", "needs"),
    [
        ("braeburn apples", (BRAEBURN,)),
        ("braeburn apple", (BRAEBURN,)),
        ("apples braeburn", (BRAEBURN,)),  # other order
        ("organic braeburn apples oakfield 5 lb", (BRAEBURN,)),  # attribute, brand, size
        ("breaburn apples", (BRAEBURN,)),  # two letters swapped
        ("braburn apples on sale", (BRAEBURN,)),  # one left out
        ("fresh braeburn apples bag2", (BRAEBURN,)),  # a word that nobody knows
        ("braeburn apples zzz yyy", ()),  # two of them
        ("on sale", ()),  # a modifier of nothing
        ("zzz", ()),
        ("", ()),
        ("a b c d e f g h i", ()),  # too long to be read
    ],
)
def test_interpret(query: str, needs: tuple[int, ...]) -> None:
    assert interpret(query) == needs


def test_a_phrase_may_name_several_needs() -> None:
    table = load_catalogue().needs.iloc[list(interpret("adult incontinence"))]
    assert len(table) > 1
    assert set(table["category"]) == {"ADULT INCONTINENCE"}


def test_misspellings_by_hand() -> None:
    assert list(misspellings("bread")) == [
        "bead",
        "berad",
        "brad",
        "braed",
        "bred",
        "breda",
        "brea",
    ]
    assert list(misspellings("milk")) == []


def test_variants_by_hand() -> None:
    # p0 = 0.75, a = 0.5: b = 1 / (0.25^-2 - 1) = 1/15, so w = floor(((1-u)^-2 - 1) / 15).
    intent = type(INTENTS["weak"])(0.75, 0.5)
    # 1-u = 1, 0.3, 0.25, 0.1, 0.01: (0, 10.1, 15, 99, 9999) / 15.
    draws = np.array([0.0, 0.7, 0.75 + 1e-9, 0.9 + 1e-9, 0.99 + 1e-12])
    assert variants(draws, intent).tolist() == [0, 0, 1, 6, 666]
    assert variants(draws, INTENTS["one_string"]).tolist() == [0] * 5


@pytest.mark.parametrize(("name", "head"), [("weak", 0.46), ("default", 0.35), ("strong", 0.25)])
def test_the_head_has_its_share_and_the_tail_is_long(name: str, head: float) -> None:
    drawn = variants((np.arange(100_000) + 0.5) / 100_000, INTENTS[name])  # type: ignore[index]
    assert (drawn == 0).mean() == pytest.approx(head, abs=2e-5)
    assert drawn.max() > 100_000
    assert (np.diff(drawn) >= 0).all()


@given(need=st.integers(0, NEEDS - 1), variant=st.integers(0, 2**62))
def test_a_wording_may_be_shown_and_names_its_need(need: int, variant: int) -> None:
    text = wording(need, variant)
    assert need in interpret(text)
    assert is_allowed(text) or text == load_phrasings()[need][0]


def test_the_first_variants_are_the_phrasings_and_then_something_is_added() -> None:
    phrases = load_phrasings()[BRAEBURN]
    assert tuple(wording(BRAEBURN, w) for w in range(3)) == phrases
    attributes, brands, sizes = modifiers_of(BRAEBURN)
    assert (len(attributes), len(brands)) == (12, 6)
    plain = {word for phrase in phrases for word in phrase.split()}
    for w in range(3, 15):  # one addition, nothing misspelt
        added = [word for word in wording(BRAEBURN, w).split() if word not in plain]
        assert " ".join(added) in {*attributes, *brands, *sizes}
        assert set(added) <= modifier_words()
    texts = {wording(BRAEBURN, w) for w in range(2000)}
    assert len(texts) > 800


def test_a_household_keeps_its_wording_and_uses_it_mostly() -> None:
    n = 4000
    households, needs = np.arange(n), np.full(n, BRAEBURN)
    own = own_wordings(households, needs, INTENTS["default"], SEED)
    assert own == own_wordings(households, needs, INTENTS["default"], SEED)
    again = typed_wordings(households, needs, (households, needs), INTENTS["default"], SEED)
    # HABIT = 0.75, and in the rest chance: the head meets the head with 0.35 · 0.35 = 0.12, others
    # hardly ever, so 0.75 + 0.25 · 0.13 = 0.783; four standard errors of 0.0065.
    same = np.mean([a == b for a, b in zip(own, again, strict=True)])
    assert same == pytest.approx(0.783, abs=0.026)
    control = typed_wordings(households, needs, (households, needs), INTENTS["one_string"], SEED)
    assert set(control) == {"braeburn apples"}


def test_match_by_hand() -> None:
    own, today = "braeburn apple 5 lb", "braeburn apple kids"
    assert match(own, BRAEBURN, own, today) == 1.0
    assert match(today, BRAEBURN, own, today) == 1.0
    assert match("braeburn apples", BRAEBURN, own, today) == 0.8  # the head
    assert match("braeburn apple", BRAEBURN, own, today) == 0.5
