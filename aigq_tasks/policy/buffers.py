"""What both ways of decoding share: padded prompts, and buffers with room for what is written."""

from collections.abc import Sequence
from typing import Any

import torch  # noqa: TID253  every function here holds tensors

Prompts = Sequence[Sequence[int]]
ROOM = 64  # tokens that the buffers of a layer grow by
PREFILL_ROWS = 8  # prompts of one forward pass: what more of them need leaves a CPU's caches


def left_pad(prompts: Prompts, pad: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and attention mask, (B, longest) int64 each."""
    length = max(map(len, prompts))
    ids = [[pad] * (length - len(prompt)) + list(prompt) for prompt in prompts]
    mask = [[0] * (length - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


def grown(states: Any, length: int) -> torch.Tensor:
    """A buffer for `length` tokens that begins with states (rows, heads, used, size)."""
    rows, heads, used, size = states.shape
    buffer: torch.Tensor = states.new_empty(rows, heads, length, size)
    buffer[:, :, :used] = states
    return buffer
