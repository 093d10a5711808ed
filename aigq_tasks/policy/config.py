"""Settings of the query writer's two trainings, IL-SFT and IL-GRPO, and the sample they share.

Nothing heavy is imported with this module, so settings can be built from its classes.
"""

from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from aigq_tasks.context.queries import MAX_CHARS, MAX_WORDS, MIN_CHARS

LISTS_AT_ONCE = 128  # prompts of a batch that is written for


@dataclass(frozen=True)
class PolicySample:
    """A prompt and its label list: normalised queries, best first. target: the text that IL-SFT
    learns to write; where it is empty, the label list (AIGQ-Direct)."""

    user_id: str
    prompt: str
    reference: list[str]
    target: str = ""


class SftConfig(BaseModel):
    """IL-SFT: passes over the samples, cut short by max_steps where that is above 0."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: float = 2.0
    batch_size: int = 16
    learning_rate: float = 1e-3
    warmup_steps: int = 10
    max_steps: int = Field(0, description="upper bound of optimizer steps, 0 = none")


class RewardConfig(BaseModel):
    """Weights and bounds of Eq 10 and 14."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    w_ctr: float = 1.0
    w_rouge: float = 0.3
    w_len: float = 0.1
    w_format: float = 1.0
    w_dup: float = 1.0
    ctr_scale: float = Field(4.0, description="α of Eq 14")
    ctr_cap: float = Field(1.0, description="c of Eq 14")
    min_words: int = 1
    max_words: int = MAX_WORDS
    min_chars: int = MIN_CHARS
    max_chars: int = MAX_CHARS
    near_duplicate: float = Field(90.0, description="token_sort_ratio from which two are the same")
    reward_clip: float = Field(5.0, description="rewards are clipped to ± this")


class Clip(NamedTuple):
    """A ratio may move within [1 − low, 1 + high] before its gradient is cut."""

    low: Annotated[float, Field(gt=0, lt=1)]
    high: Annotated[float, Field(gt=0)]


class GrpoConfig(BaseModel):
    """IL-GRPO: each step draws prompts_per_step · generations fresh rollouts and learns from them
    in `minibatches` updates."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    algorithm: Literal["il_grpo", "grpo"] = Field(
        "il_grpo", description="grpo: one advantage per rollout, of all its rewards, to compare"
    )
    steps: int = 16
    minibatches: int = Field(
        2, ge=1, description="updates per rollout batch; with 1 the ratio is 1 and nothing clips"
    )
    prompts_per_step: int = 8
    generations: int = Field(8, ge=2, description="G, rollouts of one prompt")
    micro_batch: int = Field(0, description="rollouts per backward pass, 0 = a whole minibatch")
    learning_rate: float = 2e-4
    warmup_steps: int = 0
    temperature: float = Field(1.0, gt=0)
    top_k: int = Field(100, gt=0)
    list_length: int = Field(10, description="K: queries beyond it are a defect")
    max_new_tokens: int = Field(96, description="a rollout without its end by then is cut off")
    engine: Literal["transformers", "vllm"] = Field(
        "transformers", description="what writes rollouts; vllm needs a GPU and knows no rules"
    )
    rollout_rules: bool = Field(
        True, description="rollouts obey the rules of served lists (no repeat, no empty query)"
    )
    sequence_weight: float = Field(0.5, description="λ of Eq 11")
    advantage_clip: float = 5.0
    certain: Clip = Field(Clip(0.1, 0.15), description="bounds of a token, Eq 18")
    uncertain: Clip = Field(Clip(0.2, 0.3), description="those of high entropy, Eq 18")
    uncertain_quantile: float = Field(0.8, ge=0, le=1, description="entropy that divides them")
    entropy_bonus: float = Field(0.003, ge=0, description="β_0 of β(s) = β_0 (1 − s/S)")
    anchor: float = Field(0.0, ge=0, description="weight of the KL divergence to the parent")
    reward_range: tuple[float, float] = Field(
        (0.0, 4.0), description="mean reward of a prompt that is worth learning from"
    )
    reward: RewardConfig = RewardConfig()

    @property
    def rollouts(self) -> int:
        """Rollouts per step."""
        return self.prompts_per_step * self.generations
