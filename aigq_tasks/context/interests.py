"""Interest points, and the target that AIGQ-Think learns to write (paper 3.4.2, Eq 7-9).

The target holds K rationales, then K pairs of triggers and queries, in the same order:

    <why> r_1 <why> r_2 <interest> <b_3><b_7> <queries> q <sep> q <interest> ...

Rationales come first, as the reasoning they are; pair k belongs to rationale k. A trigger is the
number of a history line of the prompt, which ends with <think>.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from aigq_tasks.context.tokens import INTEREST, QUERIES, SEP, WHY, behavior_token


@dataclass(frozen=True)
class Interest:
    """One interest point: why (normalised text), the trigger lines of the history (1-based), the
    queries it leads to, best first."""

    rationale: str
    triggers: tuple[int, ...]
    queries: tuple[str, ...]


def render_interests(interests: Sequence[Interest]) -> str:
    """The target text of a sample; the end-of-sequence token is added by whoever tokenizes."""
    whys = "".join(f"{WHY}{interest.rationale}" for interest in interests)
    pairs = "".join(
        f"{INTEREST}{''.join(behavior_token(i) for i in interest.triggers)}"
        f"{QUERIES}{SEP.join(interest.queries)}"
        for interest in interests
    )
    return whys + pairs
