from typing import Any

import pytest
import torch  # noqa: TID253
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM  # noqa: TID253

from aigq_tasks.context.tokens import (
    SPECIAL_TOKENS,
    add_special_tokens,
    days_ago_token,
    every_token,
    subwords,
    times_token,
)


@pytest.mark.parametrize(
    ("days", "token"),
    [
        (0, "<0_day_ago>"),
        (1, "<1_day_ago>"),
        (7, "<7_day_ago>"),
        (8, "<10_day_ago>"),  # up to the next end
        (28, "<28_day_ago>"),
        (29, "<42_day_ago>"),
        (120, "<120_day_ago>"),
        (500, "<120_day_ago>"),  # beyond the last end
    ],
)
def test_days_ago_buckets(days: int, token: str) -> None:
    assert days_ago_token(days) == token


@pytest.mark.parametrize(("count", "token"), [(2, "<2_time>"), (5, "<6_time>"), (99, "<13_time>")])
def test_times_buckets(count: int, token: str) -> None:
    assert times_token(count) == token


@pytest.mark.parametrize(
    ("days", "token"),
    [
        (0.0, "<every_1_day>"),
        (7.0, "<every_7_day>"),
        (7.1, "<every_10_day>"),
        (90.0, "<every_60_day>"),
    ],
)
def test_every_buckets(days: float, token: str) -> None:
    assert every_token(days) == token


def test_every_token_that_a_prompt_may_hold_is_special() -> None:
    spoken = {f(value) for f in (days_ago_token, times_token, every_token) for value in range(200)}
    assert spoken <= set(SPECIAL_TOKENS)
    assert len(set(SPECIAL_TOKENS)) == len(SPECIAL_TOKENS)


@pytest.mark.parametrize(
    ("token", "words"),
    [
        ("<1_day_ago>", ["1", "day", "ago"]),
        ("<every_14_day>", ["every", "14", "day"]),
        ("<item_click>", ["item", "click"]),
        ("<sep>", ["sep"]),
    ],
)
def test_subwords(token: str, words: list[str]) -> None:
    assert subwords(token) == words


def small(tied: bool) -> tuple[Any, Any]:
    """A tokenizer with one id per word of the special tokens, and a Qwen3 model for it."""
    words = sorted({word for token in SPECIAL_TOKENS for word in subwords(token)})
    vocabulary = {word: i for i, word in enumerate(["<unk>", "milk", *words])}
    level = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    level.pre_tokenizer = pre_tokenizers.Whitespace()
    torch.manual_seed(0)
    model = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=len(vocabulary),
            hidden_size=8,
            intermediate_size=8,
            num_hidden_layers=1,
            num_attention_heads=1,
            num_key_value_heads=1,
            head_dim=8,
            tie_word_embeddings=tied,
        )
    )
    return PreTrainedTokenizerFast(tokenizer_object=level, unk_token="<unk>"), model


@pytest.mark.parametrize("tied", [True, False])
def test_a_new_token_starts_as_the_mean_of_its_subwords(tied: bool) -> None:
    tokenizer, model = small(tied)
    size = len(tokenizer)
    before = [t.weight.detach().clone() for t in (model.get_input_embeddings(), model.lm_head)]
    ids = [tokenizer.convert_tokens_to_ids(word) for word in ("1", "day", "ago")]
    assert add_special_tokens(tokenizer, model) == len(SPECIAL_TOKENS)

    assert len(tokenizer) == size + len(SPECIAL_TOKENS)
    row = tokenizer.convert_tokens_to_ids("<1_day_ago>")
    assert row >= size
    after = [t.weight.detach() for t in (model.get_input_embeddings(), model.lm_head)]
    for old, new in zip(before, after, strict=True):
        assert new.shape == (len(tokenizer), 8)
        assert torch.equal(new[:size], old)  # nothing that was known moves
        # Eq 1: e(<1_day_ago>) = (e("1") + e("day") + e("ago")) / 3
        torch.testing.assert_close(new[row], (old[ids[0]] + old[ids[1]] + old[ids[2]]) / 3)
    assert (model.lm_head.weight is model.get_input_embeddings().weight) is tied
    assert torch.equal(before[0], before[1]) is tied  # so that the untied case shows something


def test_a_special_token_is_one_token_and_adding_twice_adds_nothing() -> None:
    tokenizer, model = small(tied=True)
    add_special_tokens(tokenizer, model)
    ids = tokenizer("<1_day_ago><search>milk<every_7_day>", add_special_tokens=False)["input_ids"]
    tokens = tokenizer.convert_ids_to_tokens(ids)
    assert tokens == ["<1_day_ago>", "<search>", "milk", "<every_7_day>"]
    weights = model.get_input_embeddings().weight.detach().clone()
    assert add_special_tokens(tokenizer, model) == 0
    assert torch.equal(model.get_input_embeddings().weight, weights)
