from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigq_tasks.context.prompt import profile_words
from aigq_tasks.context.queries import normalize
from aigq_tasks.context.tokens import SPECIAL_TOKENS
from aigq_tasks.policy.tokenizer import build_tokenizer, split_modifiers
from aigq_tasks.sources.market.catalogue import load_profiles

COUNTS = Counter(
    {"spaghetti sauce": 40, "milk": 30, "whole milk": 20, "rye bread": 5, "tea": 2, "lego": 1}
)
TOKENIZER = build_tokenizer(COUNTS, phrases=4, words=3, whole=["65+", " 35-49k"])


def encode(text: str) -> list[int]:
    ids: list[int] = TOKENIZER(text, add_special_tokens=False)["input_ids"]
    return ids


def tokens(text: str) -> list[str]:
    pieces: list[str] = TOKENIZER.convert_ids_to_tokens(encode(text))
    return pieces


def test_endings_of_many_phrases_are_modifiers() -> None:
    counts = {"a": 1, "a x": 3, "b": 1, "b x": 2, "c": 1, "c y": 2, "c x y": 5, "d x": 7}
    # " x" follows a and b, which occur alone ("d" does not); " y" and " x y" follow c only.
    stems, modifiers = split_modifiers(counts, prefixes=2)
    assert modifiers == [" x"]
    # a: 1 + 3, b: 1 + 2; "d x" keeps its ending because "d" is no phrase.
    assert stems == {"a": 4, "b": 3, "c": 1, "c y": 2, "c x y": 5, "d x": 7}
    # With one phrase sufficing, the longer ending wins: c gets 1 + 2 + 5.
    stems, modifiers = split_modifiers(counts, prefixes=1)
    assert modifiers == [" x", " x y", " y"]
    assert stems == {"a": 4, "b": 3, "c": 8, "d x": 7}


def test_no_count_is_lost_with_the_endings() -> None:
    counts = {f"p{i}": i + 1 for i in range(5)} | {f"p{i} on sale": 2 for i in range(5)}
    stems, modifiers = split_modifiers(counts, prefixes=5)
    assert modifiers == [" on sale"]
    assert stems == {f"p{i}": i + 3 for i in range(5)}


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("spaghetti sauce", ["spaghetti sauce"]),  # the four most frequent phrases are one piece
        ("whole milk", ["whole milk"]),
        ("rye bread", ["rye bread"]),
        # The words kept are " sauce" (40), "spaghetti" (40) and "milk" (30, a phrase anyway).
        ("milk sauce", ["milk", " sauce"]),
        ("tea", ["t", "e", "a"]),  # not among the four: letters
        ("milk a1", ["milk", " ", "a", "1"]),
        ("65+ 35-49k", ["65+", " 35-49k"]),  # profile words, kept whole
    ],
)
def test_common_phrases_are_one_token(text: str, pieces: list[str]) -> None:
    assert tokens(text) == pieces


def test_a_modifier_is_one_token_behind_any_phrase() -> None:
    stems = {f"phrase {chr(97 + i // 26)}{chr(97 + i % 26)}": 9 for i in range(120)}
    counts = {"milk": 9, **stems, **{f"{stem} organic": 1 for stem in stems}}
    tokenizer = build_tokenizer(counts, phrases=200, words=0)
    for text in ("milk organic", "phrase aa organic"):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        stem = text.removesuffix(" organic")
        assert tokenizer.convert_ids_to_tokens(ids) == [stem, " organic"]


@given(st.text().map(normalize))
def test_any_normalised_text_survives_encoding(query: str) -> None:
    assert TOKENIZER.decode(encode(query)) == query
    assert TOKENIZER.unk_token_id not in encode(query)


@given(st.lists(st.sampled_from([*COUNTS, "lego store", "7up"]), min_size=1, max_size=6))
def test_lists_of_known_words_survive_too(words: list[str]) -> None:
    text = " ".join(words)
    assert TOKENIZER.decode(encode(text)) == text


def test_special_tokens_are_one_id_and_stand_apart_from_text() -> None:
    text = "<profile>65+<history><3_day_ago><search>milk<hints>whole milk<sep>tea<eos>"
    assert tokens(text) == [
        "<profile>", "65+", "<history>", "<3_day_ago>", "<search>", "milk",
        "<hints>", "whole milk", "<sep>", "t", "e", "a", "<eos>",
    ]  # fmt: skip
    assert TOKENIZER.decode(encode(text)) == text
    assert TOKENIZER.decode(encode(text), skip_special_tokens=True) == "65+milkwhole milktea"
    ids = TOKENIZER.convert_tokens_to_ids(list(SPECIAL_TOKENS))
    assert len(set(ids)) == len(SPECIAL_TOKENS)
    assert TOKENIZER.unk_token_id not in ids
    assert len({TOKENIZER.pad_token_id, TOKENIZER.eos_token_id, TOKENIZER.unk_token_id}) == 3


def test_every_profile_of_the_survey_can_be_written() -> None:
    users = load_profiles().rename(columns={"household_id": "user_id"})
    for words in set(profile_words(users).values()):
        assert TOKENIZER.unk_token_id not in encode(words)
        assert TOKENIZER.decode(encode(words)) == words


def test_equal_counts_give_equal_bytes_in_whatever_order() -> None:
    def content(counts: dict[str, int], whole: list[str]) -> Any:
        return build_tokenizer(counts, 4, 3, whole).backend_tokenizer.to_str()

    ties = dict.fromkeys(["milk", "tea", "beer", "eggs", "rye bread", "whole milk"], 5)
    turned = dict(reversed(ties.items()))
    assert content(ties, ["65+", "19-24"]) == content(turned, ["19-24", "65+"])
    assert content(ties, []) != content({**ties, "beer": 6, "lego": 9}, [])


def test_it_pads_on_the_left_and_adds_nothing() -> None:
    batch = TOKENIZER(["milk", "milk sauce"], padding=True)["input_ids"]
    assert batch[0] == [TOKENIZER.pad_token_id, *encode("milk")]
    assert batch[1] == encode("milk sauce")
