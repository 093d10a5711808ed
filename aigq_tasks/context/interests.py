"""Interest points, and the target that AIGQ-Think learns to write (paper 3.4.2, Eq 7-9).

The target holds K rationales, then K pairs of triggers and queries, in the same order:

    <why> r_1 <why> r_2 <interest> <b_3><b_7> <queries> q <sep> q <interest> ...

Rationales come first, as the reasoning they are; pair k belongs to rationale k. A trigger is the
number of a history line of the prompt, which ends with <think>.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

from aigq_tasks.context.queries import MAX_QUERY_TOKENS
from aigq_tasks.context.tokens import INTEREST, QUERIES, SEP, WHY, behavior_token


@dataclass(frozen=True)
class Interest:
    """One interest point: why (normalised text), the trigger lines of the history (1-based), the
    queries it leads to, best first."""

    rationale: str
    triggers: tuple[int, ...]
    queries: tuple[str, ...]


class TargetLimits(BaseModel):
    """Upper bounds of the parts of a target."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    interests: int = Field(6, ge=1)
    triggers: int = Field(3, ge=1, description="history lines per interest")
    queries: int = Field(8, ge=1, description="queries per interest")
    rationale_tokens: int = Field(12, ge=1)


class ThinkLimits(TargetLimits):
    """Those of what is written too."""

    query_tokens: int = Field(MAX_QUERY_TOKENS, ge=1)

    @property
    def max_new_tokens(self) -> int:
        """Tokens of the longest completion that keeps all bounds, with its end."""
        pair = 1 + self.triggers + self.queries * (1 + self.query_tokens)
        return self.interests * (1 + self.rationale_tokens + pair) + 1


def within(interests: Sequence[Interest], limits: TargetLimits) -> list[Interest]:
    """The interests cut to the limits: what a model learns must be what it may write. A
    rationale keeps its first words, as many as it may have tokens."""
    return [
        Interest(
            " ".join(interest.rationale.split()[: limits.rationale_tokens]),
            interest.triggers[: limits.triggers],
            interest.queries[: limits.queries],
        )
        for interest in interests[: limits.interests]
    ]


def render_interests(interests: Sequence[Interest]) -> str:
    """The target text of a sample; the end-of-sequence token is added by whoever tokenizes."""
    whys = "".join(f"{WHY}{interest.rationale}" for interest in interests)
    pairs = "".join(
        f"{INTEREST}{''.join(behavior_token(i) for i in interest.triggers)}"
        f"{QUERIES}{SEP.join(interest.queries)}"
        for interest in interests
    )
    return whys + pairs


def read_interests(target: str) -> list[Interest]:
    """Inverse of `render_interests` for a target that it wrote."""
    whys = re.findall(f"{WHY}([^<]*)", target)
    pairs = [pair.split(QUERIES) for pair in target.split(INTEREST)[1:]]
    return [
        Interest(
            why, tuple(int(n) for n in re.findall(r"<b_(\d+)>", lines)), tuple(text.split(SEP))
        )
        for why, (lines, text) in zip(whys, pairs, strict=True)
    ]
