"""What IL-GRPO sees of a rollout: slots with a reward of their own, in either layout.

Slots are numbered as the columns of the advantage table: queries first, then trigger sets.
AIGQ-Direct has a slot per place of the list. AIGQ-Think has one per (interest, place), and one
per interest for its triggers. A slot of a rollout is compared with the same slot of the other
rollouts of its prompt and of the label (position-wise, paper 3.5.1).
"""

from collections.abc import Sequence
from functools import cache
from typing import Any, Protocol

from aigq_tasks.context.interests import ThinkLimits, read_interests
from aigq_tasks.policy.config import PolicySample
from aigq_tasks.policy.generate import ListRules, Rules, Spelling
from aigq_tasks.policy.parse import STRUCTURE, ListFormat, Rollout, Slots, parse_completions
from aigq_tasks.policy.think import Segment, ThinkFormat, parse_think
from aigq_tasks.policy.think_rules import ThinkRules


class Layout(Protocol):
    """How one of the two variants writes."""

    @property
    def query_slots(self) -> int: ...

    @property
    def trigger_slots(self) -> int: ...

    @property
    def full_length(self) -> int:
        """Queries of a whole answer."""
        ...

    def parse(self, completions: Sequence[Sequence[int]]) -> list[Rollout]:
        """Token ids of completions -> rollouts; never raises, whatever the ids are."""
        ...

    def reference(self, sample: PolicySample) -> Slots:
        """What the label has in the slots."""
        ...

    def rules(self, prompts: Sequence[Sequence[int]]) -> Rules:
        """Bans for continuing prompts (token ids), as served lists have them."""
        ...


class ListLayout:
    """AIGQ-Direct: up to `length` queries."""

    trigger_slots = 0

    def __init__(self, model: Any, tokenizer: Any, length: int) -> None:
        self.query_slots = self.full_length = length
        self._tokenizer = tokenizer
        self._format = ListFormat.of(tokenizer)
        self._spelling = Spelling.of(model, tokenizer, self._format)

    def parse(self, completions: Sequence[Sequence[int]]) -> list[Rollout]:
        parsed = parse_completions(completions, self._tokenizer, self.query_slots)
        return [
            Rollout(Slots(dict(enumerate(one.queries)), {}), one.spans, one.valid) for one in parsed
        ]

    def reference(self, sample: PolicySample) -> Slots:
        return Slots(dict(enumerate(sample.reference[: self.query_slots])), {})

    def rules(self, prompts: Sequence[Sequence[int]]) -> ListRules:
        length = self.query_slots
        return ListRules(self._format, self._spelling, len(prompts), length, exactly_k=False)


class ThinkLayout:
    """AIGQ-Think: rationales, then pairs of triggers and queries, within `limits`."""

    def __init__(
        self, model: Any, tokenizer: Any, limits: ThinkLimits, lines: int, length: int
    ) -> None:
        """lines: the most history lines that a prompt has. length: queries of a whole answer."""
        self._tokenizer, self._limits, self.full_length = tokenizer, limits, length
        self.query_slots = limits.interests * limits.queries
        self.trigger_slots = limits.interests
        self._format = ThinkFormat.of(tokenizer, lines)
        self._spelling = Spelling.of(model, tokenizer, self._format)

    def parse(self, completions: Sequence[Sequence[int]]) -> list[Rollout]:
        @cache
        def decode(piece: tuple[int, ...]) -> str:
            return str(self._tokenizer.decode(list(piece)))

        rollouts = []
        for ids in completions:
            parsed = parse_think(
                ids, self._format, decode, self._limits.interests, self._limits.queries
            )
            segments = [self._slot(segment) for segment in parsed.spans]
            rollouts.append(Rollout(self._slots(parsed.interests), segments, parsed.valid))
        return rollouts

    def reference(self, sample: PolicySample) -> Slots:
        points = read_interests(sample.target)[: self._limits.interests]
        return self._slots(dict(enumerate(points)))

    def rules(self, prompts: Sequence[Sequence[int]]) -> ThinkRules:
        behaviors = self._format.behaviors
        lines = [sum(token in behaviors for token in prompt) for prompt in prompts]
        return ThinkRules(self._format, self._spelling, lines, self._limits)

    def _slots(self, interests: dict[int, Any]) -> Slots:
        queries = {
            self._slot(Segment("query", k, j)): query
            for k, point in interests.items()
            for j, query in enumerate(point.queries[: self._limits.queries])
        }
        triggers = {
            self._slot(Segment("trigger", k)): point.triggers for k, point in interests.items()
        }
        return Slots(queries, triggers)

    def _slot(self, segment: Segment) -> int:
        if segment.kind == "query":
            return segment.interest * self._limits.queries + segment.query
        if segment.kind == "trigger":
            return self.query_slots + segment.interest
        return STRUCTURE
