import random
from typing import Any

import numpy as np
import pytest
import torch  # noqa: TID253
from transformers import (  # noqa: TID253
    AutoModelForCausalLM,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    Qwen3Config,
)

from aigq_tasks.policy.generate import (
    ListRules,
    Sampling,
    Spelling,
    TokenScores,
    _choose,
    decode,
    generate_lists,
    noise,
)
from aigq_tasks.policy.parse import ListFormat


@pytest.mark.parametrize("family", [Qwen3Config, GPT2Config, LlamaConfig, MistralConfig])
def test_greedy_decoding_of_a_padded_batch_equals_transformers_own(
    policy: Any, prompts: list[str], family: Any
) -> None:
    """Rotary and learned (GPT-2) positions, and a window shorter than the prompts (Mistral)."""
    _, tokenizer = policy()
    config = family(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        initializer_range=0.5,  # large, so that every position makes a difference
        pad_token_id=1,
        eos_token_id=2,
    )
    if family is not GPT2Config:
        config.num_key_value_heads, config.head_dim, config.intermediate_size = 2, 16, 64
    if family is MistralConfig:
        config.sliding_window = 6
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    ids = tokenizer(prompts)["input_ids"]
    written = decode(model, ids, tokenizer.eos_token_id, max_new_tokens=12)
    for prompt, completion in zip(ids, written, strict=True):
        alone = model.generate(torch.tensor([prompt]), max_new_tokens=12, do_sample=False)
        assert completion == alone[0, len(prompt) :].tolist()


def test_equal_prompts_share_a_prefill_and_are_drawn_apart(policy: Any, prompts: list[str]) -> None:
    model, tokenizer = policy()
    ids = tokenizer(prompts)["input_ids"]
    rows = [ids[i] for i in (2, 0, 0, 2, 1, 0)]
    eos = tokenizer.eos_token_id
    greedy = decode(model, rows, eos, max_new_tokens=6)
    assert greedy == [decode(model, [row], eos, max_new_tokens=6)[0] for row in rows]
    sampling = Sampling(1.0, 100, noise(0, 0, 6, 6))
    drawn = decode(model, rows, eos, max_new_tokens=6, sampling=sampling)
    assert len({tuple(drawn[i]) for i in (1, 2, 5)}) == 3


def test_a_rollout_is_drawn_by_its_number_whatever_its_batch(
    policy: Any, prompts: list[str]
) -> None:
    model, tokenizer = policy()
    ids, eos = tokenizer(prompts)["input_ids"], tokenizer.eos_token_id

    def drawn(first: int, rows: list[list[int]], seed: int = 3) -> list[list[int]]:
        sampling = Sampling(1.0, 100, noise(seed, first, len(rows), 8))
        return decode(model, rows, eos, max_new_tokens=8, sampling=sampling)

    together = drawn(10, ids)
    assert [drawn(10 + i, [row])[0] for i, row in enumerate(ids)] == together
    assert drawn(10, ids, seed=4) != together


def test_tokens_are_drawn_as_often_as_they_are_likely() -> None:
    logits = torch.tensor([0.5, 0.3, 0.2, 0.0]).log().expand(20_000, -1)
    # The token with no probability (as if banned) is never drawn, top_k cuts off the third.
    for top_k, shares in ((4, [0.5, 0.3, 0.2, 0.0]), (2, [0.625, 0.375, 0.0, 0.0])):
        sampling = Sampling(1.0, top_k, noise(0, 0, 20_000, 1))
        chosen = _choose(logits, sampling, torch.arange(20_000), 0)
        found = torch.bincount(chosen, minlength=4) / 20_000
        torch.testing.assert_close(found, torch.tensor(shares), atol=0.012, rtol=0)
        assert found[3] == 0


def test_scores_of_written_tokens_are_those_of_another_forward_pass(
    policy: Any, prompts: list[str]
) -> None:
    model, tokenizer = policy()
    ids, eos = tokenizer(prompts)["input_ids"], tokenizer.eos_token_id
    scores = TokenScores(len(ids), temperature=0.7)
    sampling = Sampling(0.7, 100, noise(1, 0, len(ids), 9))
    written = decode(model, ids, eos, max_new_tokens=9, sampling=sampling, watch=scores)
    logps, entropies = scores.tables()
    for row, (prompt, own) in enumerate(zip(ids, written, strict=True)):
        with torch.no_grad():
            logits = model(torch.tensor([prompt + own])).logits[0, len(prompt) - 1 : -1]
        expected = (logits / 0.7).log_softmax(-1)
        chosen = expected.gather(-1, torch.tensor(own)[:, None]).squeeze(-1)
        torch.testing.assert_close(logps[row, : len(own)], chosen, atol=1e-4, rtol=1e-4)
        entropy = -(expected.exp() * expected).sum(-1)
        torch.testing.assert_close(entropies[row, : len(own)], entropy, atol=1e-4, rtol=1e-4)
        assert not logps[row, len(own) :].any()


def test_sampling_draws_from_the_top_k_only(policy: Any, prompts: list[str]) -> None:
    model, tokenizer = policy()
    ids = tokenizer(prompts)["input_ids"]
    greedy = Sampling(1.0, 1, noise(0, 0, len(ids), 8))
    one = decode(model, ids, tokenizer.eos_token_id, max_new_tokens=8, sampling=greedy)
    assert one == decode(model, ids, tokenizer.eos_token_id, max_new_tokens=8)


@pytest.mark.parametrize("seed", range(8))
def test_the_rules_hold_for_a_model_that_knows_nothing(
    policy: Any, prompts: list[str], seed: int
) -> None:
    model, tokenizer = policy(seed)
    lists = generate_lists(model, tokenizer, prompts, 5, max_query_tokens=3)
    for parsed in lists:
        assert parsed.valid
        assert len(parsed.queries) == 5
        queries = [query.replace(" ", "") for query in parsed.queries]
        assert len(set(queries)) == 5
        assert max(parsed.spans.count(j) for j in range(5)) <= 3


def test_no_query_repeats_in_whatever_tokens(policy: Any) -> None:
    model, tokenizer = policy()
    fmt = ListFormat.of(tokenizer)
    spelling = Spelling(tokenizer, fmt, model.config.vocab_size, model.device)
    rules = ListRules(fmt, spelling, rows=2, k=4, exactly_k=True, max_query_tokens=4)
    words = ["milk", "whole", "bread", "mi", "lk", "!"]
    milk, whole, bread, mi, lk, mark = tokenizer.convert_tokens_to_ids(words)

    def banned() -> list[set[int]]:
        return [{i for i in fmt.text if not row[i]} for row in rules.allowed()]

    rules.observe([whole, milk])
    rules.observe([milk, fmt.sep])  # row 1: "milk" is whole
    assert banned() == [set(), {milk, mark}]  # and no query begins without a letter
    rules.observe([fmt.sep, mi])  # row 0: "whole milk" is whole
    assert banned() == [{mark}, {lk}]  # "whole" may come again; "mi" + "lk" would be "milk"
    rules.observe([whole, fmt.sep])  # row 1: "mi" is whole
    assert banned() == [{milk}, {milk, mi, mark}]
    rules.observe([mi, bread])  # row 0: "whole mi"
    assert banned() == [{lk}, set()]
    rules.observe([fmt.sep, fmt.sep])
    rules.observe([bread, whole])
    assert banned() == [set(), set()]  # "bread milk" does not begin like "whole milk"


def test_the_end_waits_for_k_queries_unless_the_model_may_stop(
    policy: Any, prompts: list[str]
) -> None:
    model, tokenizer = policy(1)
    with torch.no_grad():  # a model that wants nothing but to end
        model.lm_head.weight[tokenizer.eos_token_id] *= 200
    fixed = generate_lists(model, tokenizer, prompts, 4, max_query_tokens=2)
    free = generate_lists(model, tokenizer, prompts, 4, max_query_tokens=2, exactly_k=False)
    assert all(parsed.reason != "truncated" for parsed in fixed + free)
    assert {parsed.spans.count(-1) for parsed in fixed} == {4}  # three separators and the end
    assert min(len(parsed.queries) for parsed in free) < 4


def test_lists_come_in_the_order_of_the_prompts_whatever_the_batches(
    policy: Any, prompts: list[str]
) -> None:
    model, tokenizer = policy()
    together = generate_lists(model, tokenizer, prompts, 3)
    for batch_size in (1, 3):
        assert generate_lists(model, tokenizer, prompts, 3, batch_size=batch_size) == together
    assert generate_lists(model, tokenizer, [], 3) == []


def test_lists_draw_nothing(policy: Any, prompts: list[str]) -> None:
    """So no seed changes them."""
    model, tokenizer = policy()
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    generate_lists(model, tokenizer, prompts, 3)
    assert torch.get_rng_state().equal(before[0])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before[1:]


def test_the_training_mode_is_left_as_it_was(policy: Any, prompts: list[str]) -> None:
    model, tokenizer = policy()
    model.train()
    generate_lists(model, tokenizer, prompts, 2)
    assert model.training
