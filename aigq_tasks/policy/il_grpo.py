"""Advantages of IL-GRPO (paper 3.5, Eq 11-13): tensors in, tensors out.

Rollouts lie in rows; the G rollouts of one prompt are neighbours. A slot is a part of a rollout
with a reward of its own. Today every slot is a query of the list. Another kind of slot (the
triggers of Eq 16-17) is further columns of `slots` in `scatter_advantages`: whether a kind adds
the sequence part is decided where its column is made, so nothing below needs to know.
"""

from collections.abc import Sequence

import torch  # noqa: TID253  this module is tensor arithmetic and nothing else

from aigq_tasks.policy.parse import STRUCTURE


def group_normalize(rewards: torch.Tensor, group_size: int, eps: float = 1e-4) -> torch.Tensor:
    """(R − μ) / (σ + ε) inside each group and column (Eq 12-13).

    rewards: (N, S) float, N = groups · group_size; NaN where a rollout has no such slot.
    Returns (N, S) float32. μ and σ (population) are over the rollouts of the group that have
    the slot; 0 where there is no slot and where one rollout alone has it.
    """
    grouped = rewards.double().view(-1, group_size, rewards.size(1))
    present = ~grouped.isnan()
    count = present.sum(dim=1, keepdim=True)
    mean = grouped.nansum(dim=1, keepdim=True) / count.clamp(min=1)
    deviation = torch.where(present, grouped - mean, 0.0)
    std = (deviation.square().sum(dim=1, keepdim=True) / count.clamp(min=1)).sqrt()
    return (deviation / (std + eps)).view_as(rewards).float()


def list_advantages(
    query_rewards: torch.Tensor,
    sequence_rewards: torch.Tensor,
    group_size: int,
    sequence_weight: float,
    bound: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Advantages of the queries and of the structure of every rollout (Eq 11).

    query_rewards: (N, K), NaN where rollout i has no query j; sequence_rewards: (N,).
    Returns slots (N, K): A_ij = query part + λ · sequence part, and structure (N,): λ · the
    sequence part, both float32, clipped to [−bound, bound]. λ is sequence_weight.
    """
    sequence = group_normalize(sequence_rewards[:, None], group_size)
    structure = sequence_weight * sequence
    slots = group_normalize(query_rewards, group_size) + structure
    return slots.clamp(-bound, bound), structure.squeeze(1).clamp(-bound, bound)


def scatter_advantages(
    slots: torch.Tensor, structure: torch.Tensor, segments: torch.Tensor
) -> torch.Tensor:
    """Give every token the advantage of its segment.

    slots: (B, S) float; structure: (B,) float; segments: (B, T) int64 in [−1, S), where s ≥ 0
    is a token of slot s and −1 (STRUCTURE) a token of none. Returns (B, T) float.
    """
    columns = torch.cat([structure[:, None], slots], dim=1)  # STRUCTURE (−1) becomes column 0
    return columns.gather(1, segments - STRUCTURE)


def pad_segments(spans: Sequence[Sequence[int]], length: int) -> torch.Tensor:
    """Spans of B completions, each of at most `length` tokens -> (B, length) int64; padding
    is STRUCTURE."""
    segments = torch.full((len(spans), length), STRUCTURE, dtype=torch.int64)
    for row, span in zip(segments, spans, strict=True):
        row[: len(span)] = torch.tensor(span, dtype=torch.int64)
    return segments
