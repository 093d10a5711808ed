"""IL-GRPO without a language model: every place of a list has one right word of twenty.

A policy is a table of logits; a rollout is a list; a place is rewarded for its right word. GRPO
gives all places of a list the advantage of the list, IL-GRPO each its own. The advantages are those
that train a language model; the objective, which TRL computes there, is written out here.

    python docs/examples/il_grpo_toy.py
"""

import torch
from torch.distributions import Categorical

from aigq_tasks.policy.advantages import (
    list_advantages,
    scatter_advantages,
    sequence_advantages,
)

PLACES, WORDS, GROUP, STEPS, CLIP = 10, 20, 8, 20, 0.2
RIGHT = torch.arange(PLACES)
SEGMENTS = torch.arange(PLACES).expand(GROUP, -1)  # one token per place


def learn(algorithm: str, seed: int = 0) -> float:
    """The probability of the right word, mean over places, after STEPS groups of rollouts."""
    torch.manual_seed(seed)
    logits = torch.zeros(PLACES, WORDS, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.1)
    for _ in range(STEPS):
        words = Categorical(logits=logits).sample((GROUP,))
        rewards = (words == RIGHT).float()
        if algorithm == "grpo":
            advantages = sequence_advantages(rewards.sum(dim=1), GROUP, 5.0)[:, None]
        else:
            slots, structure = list_advantages(rewards, torch.zeros(GROUP), GROUP, 0.5, 5.0)
            advantages = scatter_advantages(slots, structure, SEGMENTS)
        before = Categorical(logits=logits).log_prob(words).detach()
        for _ in range(2):
            ratio = (Categorical(logits=logits).log_prob(words) - before).exp()
            cut = ratio.clamp(1 - CLIP, 1 + CLIP)
            loss = -torch.minimum(ratio * advantages, cut * advantages).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return logits.softmax(dim=1)[RIGHT, RIGHT].mean().item()


if __name__ == "__main__":
    for name in ("il_grpo", "grpo"):
        print(f"{name:8} {learn(name):.3f}")
