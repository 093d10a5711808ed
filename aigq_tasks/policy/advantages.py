"""What IL-GRPO puts into the loss (paper 3.5, Eq 11-13, 17-18): an advantage and clip bounds of
every token, and the weight of the entropy bonus. Tensors in, tensors out; the loss that takes them
is TRL's, in `policy.trainer`.

Rollouts lie in rows; the G rollouts of one prompt are neighbours. A slot is a part of a rollout
with a reward of its own: a query of the list, or the triggers of an interest point. Slots are
columns of one table, and `scatter_advantages` gives every token the advantage of its slot.
Whether a kind of slot has the sequence part in it is decided where its columns are made.
"""

from collections.abc import Sequence

import torch  # noqa: TID253  this module is tensor arithmetic and nothing else

from aigq_tasks.policy.config import Clip
from aigq_tasks.policy.parse import STRUCTURE


def group_normalize(rewards: torch.Tensor, group_size: int, eps: float = 1e-4) -> torch.Tensor:
    """(R − μ) / (σ + ε) inside each group and column (Eq 12-13).

    rewards: (N, S) float, N = groups · group_size; NaN where a rollout has no such slot.
    Returns (N, S) float32. μ and σ (of a sample: n − 1, as TRL has it) are over the n rollouts of
    the group that have the slot; 0 where there is no slot and where one rollout alone has it.
    """
    grouped = rewards.double().view(len(rewards) // group_size, group_size, rewards.size(1))
    present = ~grouped.isnan()
    count = present.sum(dim=1, keepdim=True)
    mean = grouped.nansum(dim=1, keepdim=True) / count.clamp(min=1)
    deviation = torch.where(present, grouped - mean, 0.0)
    std = (deviation.square().sum(dim=1, keepdim=True) / (count - 1).clamp(min=1)).sqrt()
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


def trigger_advantages(
    trigger_rewards: torch.Tensor, group_size: int, bound: float
) -> torch.Tensor:
    """Advantages of the trigger sets (Eq 17): their own group statistics and nothing else.

    trigger_rewards: (N, K), R^trig of Eq 16, NaN where rollout i has no interest point k.
    Returns (N, K) float32, clipped to [−bound, bound].
    """
    return group_normalize(trigger_rewards, group_size).clamp(-bound, bound)


def sequence_advantages(rewards: torch.Tensor, group_size: int, bound: float) -> torch.Tensor:
    """Canonical GRPO, for comparison: rewards (N,) -> (N,) float32, one advantage for every
    token of a rollout, clipped to [−bound, bound]."""
    return group_normalize(rewards[:, None], group_size).squeeze(1).clamp(-bound, bound)


def informative_groups(
    rewards: torch.Tensor, group_size: int, low: float, high: float
) -> torch.Tensor:
    """Difficulty filter (paper 3.5.4): the groups that there is something to learn from.

    rewards: (N,) float, the whole reward of every rollout. Returns (N / group_size,) bool: the
    mean lies in (low, high), and the rollouts do not all have the same reward.
    """
    grouped = rewards.double().view(-1, group_size)
    mean = grouped.mean(dim=1)
    differ = grouped.amax(dim=1) > grouped.amin(dim=1)
    return differ & (mean > low) & (mean < high)


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


def entropy_threshold(
    entropies: torch.Tensor, mask: torch.Tensor, quantile: float = 0.8
) -> torch.Tensor:
    """The entropy from which a token is uncertain (Eq 18): scalar float.

    entropies, mask: (B, T) of the whole rollout batch, all processes; the quantile is over the
    tokens where mask is true, linear between neighbours. Infinite without any token.
    """
    held = entropies[mask.bool()].float()
    if held.numel() == 0:
        return torch.full((), torch.inf, device=entropies.device)
    place = quantile * (held.numel() - 1)
    ordered, below = held.sort().values, int(place)
    above = min(below + 1, held.numel() - 1)
    return torch.lerp(ordered[below], ordered[above], place - below)


def clip_bounds(
    is_uncertain: torch.Tensor, certain: Clip, uncertain: Clip
) -> tuple[torch.Tensor, torch.Tensor]:
    """ε_low and ε_high of every token (Eq 18), float32 of the shape of is_uncertain (bool): the
    tokens whose entropy reaches the threshold."""
    return (
        torch.where(is_uncertain, uncertain.low, certain.low),
        torch.where(is_uncertain, uncertain.high, certain.high),
    )


def entropy_weight(step: int, steps: int, start: float) -> float:
    """β(s) = β_0 (1 − s / S): the weight of the entropy bonus at step s of S."""
    return start * max(0.0, 1 - step / steps)
