"""A small tokenizer and a tiny Qwen3 model, built in code: real Hugging Face classes; and what
such a policy learns from."""

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch  # noqa: TID253
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (  # noqa: TID253
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from aigq_tasks.context.tokens import SPECIAL_TOKENS, add_special_tokens, subwords
from aigq_tasks.policy.config import PolicySample, SftConfig
from aigq_tasks.policy.il_sft import train_il_sft

WORDS = ["milk", "bread", "eggs", "beer", "tea", "whole", "rye", "dark", "free", "range", "!"]
PARTS = ["mi", "lk"]  # another way to write a word


@pytest.fixture(scope="session")
def threads() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def policy(threads: None) -> Callable[..., tuple[Any, Any]]:
    """policy(seed) -> (model, tokenizer); one token per word, so queries have one or more."""

    def build(seed: int = 0) -> tuple[Any, Any]:
        pieces = sorted({word for token in SPECIAL_TOKENS for word in subwords(token)})
        vocabulary = {
            w: i for i, w in enumerate(["<unk>", "<pad>", "<eos>", *WORDS, *PARTS, *pieces])
        }
        words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
        words.pre_tokenizer = pre_tokenizers.Whitespace()
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=words, unk_token="<unk>", pad_token="<pad>", eos_token="<eos>"
        )
        torch.manual_seed(seed)
        config = Qwen3Config(
            vocab_size=len(vocabulary),
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=16,
            max_position_embeddings=256,
            tie_word_embeddings=True,
            pad_token_id=1,
            eos_token_id=2,
        )
        model = Qwen3ForCausalLM(config).eval()
        add_special_tokens(tokenizer, model)
        return model, tokenizer

    return build


@pytest.fixture
def prompts() -> list[str]:
    """Prompts of different lengths."""
    return [
        "<profile>milk<history><3_day_ago><search>whole milk<hints>",
        "<profile><history><hints>",
        "<profile>tea<history><7_day_ago><search>beer<1_day_ago><item_click>rye bread<hints>",
        "<profile>eggs<history><0_day_ago><search>free range eggs<hints>",
    ]


@pytest.fixture
def samples(prompts: list[str]) -> list[PolicySample]:
    lists = [["whole milk", "tea"], ["beer"], ["rye bread", "eggs", "milk"], ["free range eggs"]]
    return [
        PolicySample(f"u{i}", prompt, queries)
        for i, (prompt, queries) in enumerate(zip(prompts, lists, strict=True))
    ]


@pytest.fixture
def warm(policy: Any, prompts: list[str]) -> Callable[[], tuple[Any, Any]]:
    """warm() -> a policy that has seen lists of one to three queries: it writes well-formed
    lists more often than not, and has no favourite."""
    draw = random.Random(0)
    queries = ["whole milk", "tea", "beer", "rye bread", "eggs", "dark bread", "free range eggs"]
    seen = [
        PolicySample("u", prompt, draw.sample(queries, draw.randint(1, 3)))
        for prompt in prompts * 16
    ]

    def build() -> tuple[Any, Any]:
        model, tokenizer = policy()
        train_il_sft(model, tokenizer, seen, SftConfig(epochs=6, learning_rate=5e-3), seed=0)
        return model, tokenizer

    return build
