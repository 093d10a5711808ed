"""Special tokens of the prompt schema (paper 3.2.2, Eq 1).

Discrete fields with few values (time buckets, behaviour types, repeat counts, repeat intervals)
are one token each. A new token starts as the mean of the embeddings of its sub-words.
"""

import re
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

PROFILE, HISTORY, HINTS, SEP = "<profile>", "<history>", "<hints>", "<sep>"
THINK, WHY, INTEREST, QUERIES = "<think>", "<why>", "<interest>", "<queries>"
KINDS = {"search": "<search>", "item_click": "<item_click>", "hint_click": "<hint_click>"}

# Upper ends of the buckets; what lies beyond the last end falls into the last bucket.
DAYS_AGO = (0, 1, 2, 3, 4, 5, 6, 7, 10, 14, 21, 28, 42, 60, 90, 120)
TIMES = (2, 3, 4, 6, 9, 13)
EVERY_DAYS = (1, 3, 5, 7, 10, 14, 21, 28, 42, 60)


def _bucket(value: float, ends: tuple[int, ...]) -> int:
    return ends[min(bisect_left(ends, value), len(ends) - 1)]


def days_ago_token(days: float) -> str:
    """`<3_day_ago>`; days is the whole number of days between a behaviour and the prompt."""
    return f"<{_bucket(days, DAYS_AGO)}_day_ago>"


def times_token(count: int) -> str:
    """`<2_time>`: how often a content occurs in the history; one line without it occurred once."""
    return f"<{_bucket(count, TIMES)}_time>"


def every_token(days: float) -> str:
    """`<every_7_day>`: mean days between occurrences of a content seen at least twice."""
    return f"<every_{_bucket(days, EVERY_DAYS)}_day>"


def behavior_token(index: int) -> str:
    """`<b_7>`: the 7th line of the history, as AIGQ-Think refers to it; 1-based."""
    return f"<b_{index}>"


SPECIAL_TOKENS: tuple[str, ...] = (
    PROFILE,
    HISTORY,
    HINTS,
    SEP,
    *KINDS.values(),
    *(f"<{days}_day_ago>" for days in DAYS_AGO),
    *(f"<{count}_time>" for count in TIMES),
    *(f"<every_{days}_day>" for days in EVERY_DAYS),
)


def subwords(token: str) -> list[str]:
    """The words of a special token: "<1_day_ago>" -> ["1", "day", "ago"]."""
    return [word for word in re.split(r"[<>_]+", token) if word]


def think_tokens(lines: int) -> tuple[str, ...]:
    """What AIGQ-Think needs besides SPECIAL_TOKENS, for prompts of up to `lines` history lines."""
    return (THINK, WHY, INTEREST, QUERIES, *(behavior_token(i) for i in range(1, lines + 1)))


def add_special_tokens(tokenizer: Any, model: Any, tokens: Sequence[str] = SPECIAL_TOKENS) -> int:
    """Add the missing `tokens` to a Hugging Face tokenizer and model; return how many.

    Eq 1: the input embedding (and the output row, where the two are not tied) of a new token
    is the mean of the embeddings of its sub-words: e(<1_day_ago>) = mean(e("1"), e("day"),
    e("ago")). A word that the tokenizer splits further contributes all its pieces.
    """
    import torch

    known = tokenizer.get_vocab()
    new = [token for token in tokens if token not in known]
    if not new:
        return 0
    pieces = {token: _piece_ids(tokenizer, token) for token in new}
    tokenizer.add_special_tokens({"additional_special_tokens": new}, False)
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    tables: list[torch.nn.Embedding | torch.nn.Linear] = [model.get_input_embeddings()]
    output = model.get_output_embeddings()
    if output is not None and output.weight is not tables[0].weight:
        tables.append(output)
    with torch.no_grad():
        for table in tables:
            for token, ids in pieces.items():
                row = tokenizer.convert_tokens_to_ids(token)
                table.weight[row] = table.weight[ids].mean(dim=0)
    return len(new)


def _piece_ids(tokenizer: Any, token: str) -> list[int]:
    words = subwords(token)
    return [i for word in words for i in tokenizer(word, add_special_tokens=False)["input_ids"]]
