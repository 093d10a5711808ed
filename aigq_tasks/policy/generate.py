"""Batched generation of query lists with a key-value cache, for any Hugging Face causal LM.

One plain loop serves both uses: constrained lists for the cache and the evaluation
(`generate_lists`), and free rollouts for IL-GRPO (`decode` without rules).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch  # noqa: TID253  every function here runs a model
from rich.progress import track
from transformers import DynamicCache  # noqa: TID253

from aigq_tasks.policy.parse import ListFormat, ParsedList, parse_completions


class Sampling(NamedTuple):
    """Draw each token from the top_k most likely ones at a temperature."""

    temperature: float
    top_k: int


def generate_lists(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[str],
    k: int,
    sampling: Sampling | None = None,
    seed: int = 0,
    batch_size: int = 128,
    *,
    exactly_k: bool = True,
    max_query_tokens: int = 16,
    progress: bool = False,
) -> list[ParsedList]:
    """One list of up to k queries per prompt, in the order of the prompts (see `ListRules`).

    sampling None is greedy. Prompts of similar length share a batch; equal prompts share their
    prefill. The same model, prompts and seed give the same lists on one machine and thread
    count. exactly_k suppresses the end until k queries are written; without it the model may
    end a list earlier. A query ends after max_query_tokens at the latest, so no list is cut off.
    """
    fmt = ListFormat.of(tokenizer)
    ids = tokenizer(list(prompts))["input_ids"] if prompts else []
    order = sorted(range(len(ids)), key=lambda i: (len(ids[i]), i))
    batches = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    generator = torch.Generator(model.device).manual_seed(seed)
    width = model.get_output_embeddings().weight.size(0)
    completions: list[list[int]] = [[] for _ in ids]
    for batch in track(batches, "generating lists", disable=not progress):
        rules = ListRules(fmt, (len(batch), width), k, exactly_k, max_query_tokens, model.device)
        written = decode(
            model,
            [ids[i] for i in batch],
            fmt.eos,
            max_new_tokens=k * (max_query_tokens + 1),
            sampling=sampling,
            generator=generator,
            rules=rules,
        )
        for i, completion in zip(batch, written, strict=True):
            completions[i] = completion
    return parse_completions(completions, tokenizer, k)


class ListRules:
    """What a list may not do, as bans on the next token of every row of a batch.

    - A query is never empty: no separator and no end right after the start or a separator.
    - No query begins with a whole earlier query of its list, so none repeats: the token that
      would complete such a prefix is banned. Compared as tokens, which also bans "milk bread"
      after "milk" where "milk" is a token of its own.
    - Special tokens and ids outside the vocabulary are banned, but for separator and end.
    - After k queries only the end is left; with exactly_k there is no end before that.
    - A query of max_query_tokens tokens must end.

    State per row is kept in tensors; there is no loop over rows.
    """

    def __init__(
        self,
        fmt: ListFormat,
        shape: tuple[int, int],
        k: int,
        exactly_k: bool,
        max_query_tokens: int,
        device: torch.device,
    ) -> None:
        """shape: rows of the batch and width of the logits."""
        self.fmt, self.k, self.exactly_k = fmt, k, exactly_k
        self.max_query_tokens = max_query_tokens
        rows, width = shape
        self.rows = torch.arange(rows, device=device)
        self.is_text = torch.zeros(width, dtype=torch.bool, device=device)
        self.is_text[sorted(fmt.text)] = True
        # Query j of row b is written[b, j, :]; it is whole, of lengths[b, j] tokens, if j < done[b].
        self.written = torch.full((rows, k, max_query_tokens), -1, device=device)
        self.lengths = torch.zeros(rows, k, dtype=torch.int64, device=device)
        self.done = torch.zeros(rows, dtype=torch.int64, device=device)
        self.position = torch.zeros(rows, dtype=torch.int64, device=device)
        # Whether the query being written has so far been the beginning of earlier query j.
        self.matching = torch.zeros(rows, k, dtype=torch.bool, device=device)

    def mask(self, logits: torch.Tensor) -> torch.Tensor:
        """(B, V) logits of the next token -> the same with banned tokens at -inf."""
        fmt = self.fmt
        allowed = logits.where(self.is_text, -torch.inf)
        closing = self.matching & (self.lengths == self.position[:, None] + 1)
        rows, queries = closing.nonzero(as_tuple=True)
        allowed[rows, self.written[rows, queries, self.position[rows]]] = -torch.inf
        allowed[self.position == self.max_query_tokens] = -torch.inf
        is_open, is_last = self.position > 0, self.done == self.k - 1
        may_end = is_open & (is_last | (not self.exactly_k))
        allowed[:, fmt.sep] = logits[:, fmt.sep].where(is_open & ~is_last, -torch.inf)
        allowed[:, fmt.eos] = logits[:, fmt.eos].where(may_end, -torch.inf)
        return allowed

    def observe(self, tokens: torch.Tensor, active: torch.Tensor) -> None:
        """Take in the token chosen for each row, (B,); rows not active (B, bool) are finished."""
        rows = self.rows[active & (tokens != self.fmt.sep) & (tokens != self.fmt.eos)]
        position, token = self.position[rows], tokens[rows]
        self.matching[rows] &= self.written[rows, :, position] == token[:, None]
        self.written[rows, self.done[rows], position] = token
        self.position[rows] += 1
        rows = self.rows[active & (tokens == self.fmt.sep)]
        self.lengths[rows, self.done[rows]] = self.position[rows]
        self.done[rows] += 1
        self.position[rows] = 0
        self.matching[rows] = torch.arange(self.k, device=rows.device) < self.done[rows, None]


@torch.no_grad()
def decode(
    model: Any,
    prompts: Sequence[Sequence[int]],
    eos: int,
    *,
    max_new_tokens: int,
    sampling: Sampling | None = None,
    generator: torch.Generator | None = None,
    rules: ListRules | None = None,
) -> list[list[int]]:
    """Continue each prompt (token ids, not empty) until eos or max_new_tokens.

    Returns the new ids of each prompt, the eos included where one was written. The model's
    training mode is left as it was; dropout is off meanwhile.
    """
    was_training = model.training
    model.eval()
    ids, mask = _left_pad(prompts, eos, model.device)
    cache = shared_prefill(model, ids[:, :-1], mask[:, :-1])
    steps = mask.new_ones(len(ids), max_new_tokens)
    mask, prompt_length = torch.cat([mask, steps], dim=1), ids.size(1)
    token, position = ids[:, -1:], mask[:, :prompt_length].sum(dim=1, keepdim=True) - 1
    active = torch.ones(len(ids), dtype=torch.bool, device=ids.device)
    columns: list[torch.Tensor] = []
    while len(columns) < max_new_tokens and active.any():
        logits = model(
            input_ids=token,
            attention_mask=mask[:, : prompt_length + len(columns)],
            position_ids=position + len(columns),
            past_key_values=cache,
            use_cache=True,
        ).logits[:, -1]
        chosen = _choose(rules.mask(logits) if rules else logits, sampling, generator)
        chosen = chosen.where(active, eos)
        if rules:
            rules.observe(chosen, active)
        columns.append(chosen)
        active = active & (chosen != eos)
        token = chosen[:, None]
    model.train(was_training)
    return [_until(row, eos) for row in torch.stack(columns, dim=1).tolist()]


def shared_prefill(model: Any, ids: torch.Tensor, mask: torch.Tensor) -> DynamicCache:
    """Key-value cache of the left-padded prompts ids (B, P) with attention mask (B, P), both
    int64. Equal rows go through the model once: the rollouts of one prompt share their prefill.
    Differentiable where gradients are on."""
    cache = DynamicCache(config=model.config)
    if ids.size(1) == 0:
        return cache
    distinct, row_of = torch.unique(torch.stack([ids, mask], dim=2), dim=0, return_inverse=True)
    ids, mask = distinct.unbind(dim=2)
    model(
        input_ids=ids,
        attention_mask=mask,
        position_ids=(mask.cumsum(dim=1) - 1).clamp(min=0),
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    cache.batch_select_indices(row_of)
    return cache


def _left_pad(
    prompts: Sequence[Sequence[int]], pad: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    length = max(map(len, prompts))
    ids = [[pad] * (length - len(prompt)) + list(prompt) for prompt in prompts]
    mask = [[0] * (length - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


def _choose(
    logits: torch.Tensor, sampling: Sampling | None, generator: torch.Generator | None
) -> torch.Tensor:
    """(B, V) logits -> (B,) the most likely token, or one drawn from the top_k."""
    if sampling is None:
        return logits.argmax(dim=-1)
    top = logits.float().topk(min(sampling.top_k, logits.size(-1)), dim=-1)
    probabilities = (top.values / sampling.temperature).softmax(dim=-1)
    drawn = torch.multinomial(probabilities, 1, generator=generator)
    return top.indices.gather(-1, drawn).squeeze(-1)


def _until(row: list[int], eos: int) -> list[int]:
    return row[: row.index(eos) + 1] if eos in row else row
