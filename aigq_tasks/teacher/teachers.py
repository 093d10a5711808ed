"""Who answers the questions of `tasks`: a language model, or a deterministic stand-in.

The stand-in knows co-occurrence (which queries go with which contents) and a sentence encoder. It
is no language model and everything made with it is labelled `stand-in`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from aigq_tasks.context.interests import Interest
from aigq_tasks.context.prompt import HistoryLine, Shopper
from aigq_tasks.context.queries import is_allowed
from aigq_tasks.teacher.endpoint import Answer, Endpoint, Question
from aigq_tasks.teacher.tasks import (
    Candidates,
    Explained,
    Judged,
    candidates_question,
    explain_question,
    judge_question,
    read_candidates,
    read_explained,
    read_judged,
)

Affinity = npt.NDArray[np.float64]
QueryLists = Sequence[Sequence[str]]  # one per shopper

STAND_IN = "stand-in"
FITS = 0.4  # affinity from which a query follows from a line, on the scale of cosines
OFTEN = 3  # times that a habit takes
DUE = 0.8  # share of the usual interval after which a repeat is due


class Teacher(Protocol):
    """All methods answer one list per shopper, in order."""

    @property
    def label(self) -> str:
        """What stands in tags, reports and manifests."""
        ...

    @property
    def usage(self) -> Mapping[str, float]:
        """What each task took so far, by the name of its metric."""
        ...

    def candidates(self, shoppers: Sequence[Shopper], count: int) -> list[list[str]]: ...

    def judge(self, shoppers: Sequence[Shopper], queries: QueryLists) -> list[list[str]]: ...

    def explain(
        self, shoppers: Sequence[Shopper], queries: QueryLists, most: int
    ) -> list[list[Interest]]: ...


@dataclass
class LlmTeacher:
    """A language model behind an endpoint. usage: what each task took, stored answers included."""

    endpoint: Endpoint
    usage: dict[str, float] = field(default_factory=dict)

    @property
    def label(self) -> str:
        return self.endpoint.config.model

    def candidates(self, shoppers: Sequence[Shopper], count: int) -> list[list[str]]:
        asked = [candidates_question(shopper, count) for shopper in shoppers]
        return [read_candidates(answer, count) for answer in self._ask(asked, Candidates)]

    def judge(self, shoppers: Sequence[Shopper], queries: QueryLists) -> list[list[str]]:
        pairs = zip(shoppers, queries, strict=True)
        answers = self._ask([judge_question(*pair) for pair in pairs], Judged)
        return [read_judged(answer, asked) for answer, asked in zip(answers, queries, strict=True)]

    def explain(
        self, shoppers: Sequence[Shopper], queries: QueryLists, most: int
    ) -> list[list[Interest]]:
        pairs = list(zip(shoppers, queries, strict=True))
        answers = self._ask([explain_question(*pair, most) for pair in pairs], Explained)
        return [
            read_explained(answer, *pair, most) for answer, pair in zip(answers, pairs, strict=True)
        ]

    def _ask(self, questions: Sequence[Question], kind: type[Answer]) -> list[Answer]:
        if not questions:
            return []
        answered = self.endpoint.ask(questions, kind)
        task = questions[0].task
        self.usage[f"llm/{task}/prompt_tokens"] = float(answered.prompt_tokens)
        self.usage[f"llm/{task}/answer_tokens"] = float(answered.answer_tokens)
        self.usage[f"llm/{task}/cost"] = answered.cost(self.endpoint.config)
        return answered.answers


@dataclass(frozen=True)
class StandIn:
    """neighbours: content -> query -> score in (0, 1]. embed: texts -> (n, d) unit rows.
    classify: texts -> leaf categories, by which queries are grouped into interests. triggers:
    lines that an interest names at most."""

    neighbours: Mapping[str, Mapping[str, float]]
    embed: Callable[[Sequence[str]], npt.NDArray[np.float32]]
    classify: Callable[[Sequence[str]], list[str]]
    triggers: int
    label: str = STAND_IN
    usage: Mapping[str, float] = field(default_factory=dict)  # it costs nothing

    def candidates(self, shoppers: Sequence[Shopper], count: int) -> list[list[str]]:
        """The queries that go best with the whole history; none that the history holds."""
        return [self._candidates(shopper, count) for shopper in shoppers]

    def judge(self, shoppers: Sequence[Shopper], queries: QueryLists) -> list[list[str]]:
        """The queries that follow from at least one line."""
        self._embed_all(shoppers, queries)
        return [
            [asked[i] for i, row in enumerate(self._affinity(shopper, asked)) if fits(row)]
            for shopper, asked in zip(shoppers, queries, strict=True)
        ]

    def explain(
        self, shoppers: Sequence[Shopper], queries: QueryLists, most: int
    ) -> list[list[Interest]]:
        """Queries of one leaf category are one interest; where that makes more than `most`, the
        later queries join the interest nearest in meaning. Its lines are those with the highest
        affinity to any of its queries. A query that follows from no line is left out."""
        self._embed_all(shoppers, queries)
        pairs = zip(shoppers, queries, strict=True)
        return [self._explain(shopper, asked, most) for shopper, asked in pairs]

    def _embed_all(self, shoppers: Sequence[Shopper], queries: QueryLists) -> None:
        """One batch of all texts, which the encoder remembers: one by one takes far longer."""
        lines = {line.content for shopper in shoppers for line in shopper.lines}
        self.embed(sorted(lines.union(*queries)))

    def _candidates(self, shopper: Shopper, count: int) -> list[str]:
        scores: dict[str, float] = {}
        for line in shopper.lines:
            for query, score in self.neighbours.get(line.content, {}).items():
                scores[query] = scores.get(query, 0.0) + score
        held = {line.content for line in shopper.lines}
        ranked = sorted(scores, key=lambda query: (-scores[query], query))
        return [query for query in ranked if query not in held and is_allowed(query)][:count]

    def _explain(self, shopper: Shopper, queries: Sequence[str], most: int) -> list[Interest]:
        affinity = self._affinity(shopper, queries)
        groups: dict[str, list[int]] = {}
        for i, category in enumerate(self.classify(queries)):
            if not fits(affinity[i]):
                continue
            if category not in groups and len(groups) == most:
                category = self._nearest(queries, groups, i)
            groups.setdefault(category, []).append(i)
        return [self._interest(shopper, queries, affinity, group) for group in groups.values()]

    def _nearest(self, queries: Sequence[str], groups: Mapping[str, list[int]], i: int) -> str:
        """The group with the query whose meaning is nearest to that of query i."""
        vectors = self.embed(queries)
        return max(groups, key=lambda name: float((vectors[groups[name]] @ vectors[i]).max()))

    def _interest(
        self, shopper: Shopper, queries: Sequence[str], affinity: Affinity, group: list[int]
    ) -> Interest:
        strength = affinity[group].max(axis=0)
        # Best first; of equally good lines the more recent one, which stands further down.
        best = sorted(range(len(shopper.lines)), key=lambda n: (-strength[n], -n))[: self.triggers]
        lines = [n for n in best if strength[n] >= FITS]
        return Interest(
            rationale(shopper.lines[lines[0]]),
            tuple(n + 1 for n in lines),
            tuple(queries[i] for i in group),
        )

    def _affinity(self, shopper: Shopper, queries: Sequence[str]) -> Affinity:
        """(queries, lines) float64: the larger of cosine and co-occurrence; 1 for equal texts."""
        contents = [line.content for line in shopper.lines]
        if not contents or not queries:
            return np.zeros((len(queries), len(contents)))
        cosine = (self.embed(queries) @ self.embed(contents).T).astype(np.float64)
        together = np.array([[self._tie(text, query) for text in contents] for query in queries])
        affinity: Affinity = np.maximum(cosine, together)
        return affinity

    def _tie(self, content: str, query: str) -> float:
        return 1.0 if query == content else self.neighbours.get(content, {}).get(query, 0.0)


def fits(row: Affinity) -> bool:
    """Whether a query with these affinities (lines,) follows from any line."""
    return bool(row.size) and float(row.max()) >= FITS


def rationale(line: HistoryLine) -> str:
    """Why a line leads to queries, in a few words."""
    if line.times > 1 and line.days_ago >= DUE * line.every:
        return f"{line.content} due again"
    return f"{line.content} often" if line.times >= OFTEN else f"{line.content} lately"
