"""A strict parser of what AIGQ-Think writes (layout: `context.interests`), from token ids."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, NamedTuple

from aigq_tasks.context.interests import Interest
from aigq_tasks.context.queries import normalize
from aigq_tasks.context.tokens import INTEREST, QUERIES, SEP, WHY, behavior_token
from aigq_tasks.errors import AigqError

Kind = Literal["structure", "rationale", "trigger", "query"]
Reason = Literal[
    "",
    "truncated",  # no end-of-sequence token
    "text before the first rationale",
    "empty rationale",
    "out of order",  # a part that may not follow the one before it
    "no triggers",  # none, or something else between <interest> and <queries>
    "repeated trigger",
    "empty query",
    "special token",  # inside a rationale or a query
    "too many",  # interests, or queries of one interest
    "unpaired",  # as many rationales as interests are due, and at least one
]


class Segment(NamedTuple):
    """What a token belongs to: its kind, the interest's number, the query's place in it."""

    kind: Kind
    interest: int = -1
    query: int = -1


STRUCTURE = Segment("structure")


@dataclass(frozen=True)
class ParsedThink:
    """A completion as interest points.

    interests: number -> the well-formed ones. spans: the segment of every token of the
    completion, STRUCTURE for markers, the end, padding, and all of an interest that was dropped.
    valid: well-formed throughout; reason: the first defect, "" if none.
    """

    interests: dict[int, Interest]
    spans: list[Segment]
    valid: bool
    reason: Reason


@dataclass(frozen=True)
class ThinkFormat:
    """Ids that structure a completion; text: ids that may stand in a rationale or a query;
    behaviors: id -> index of the history line that it names."""

    why: int
    interest: int
    queries: int
    sep: int
    eos: int
    behaviors: dict[int, int]
    text: frozenset[int]

    @classmethod
    def of(cls, tokenizer: Any, lines: int) -> "ThinkFormat":
        """Read the format from a Hugging Face tokenizer, for prompts of up to `lines` history
        lines; AigqError if it lacks a token of the layout."""
        vocabulary = tokenizer.get_vocab()
        names = {i: behavior_token(i) for i in range(1, lines + 1)}
        wanted = [WHY, INTEREST, QUERIES, SEP, *names.values()]
        missing = [token for token in wanted if token not in vocabulary]
        if missing or tokenizer.eos_token_id is None:
            raise AigqError(
                f"the tokenizer lacks {missing[0] if missing else 'an end-of-sequence token'}; "
                "load model and tokenizer with aigq_tasks.policy.backbone.load_backbone"
            )
        why, interest, queries, sep = (vocabulary[token] for token in wanted[:4])
        return cls(
            why,
            interest,
            queries,
            sep,
            tokenizer.eos_token_id,
            {vocabulary[name]: i for i, name in names.items()},
            frozenset(vocabulary.values()).difference(tokenizer.all_special_ids),
        )


class _Part(NamedTuple):
    """A marker's id and the tokens after it, as ids[start:stop]."""

    marker: int
    start: int
    stop: int


class _Pair(NamedTuple):
    triggers: _Part
    queries: list[_Part]


def parse_think(
    ids: Sequence[int],
    fmt: ThinkFormat,
    decode: Callable[[tuple[int, ...]], str],
    max_interests: int,
    max_queries: int,
) -> ParsedThink:
    """Parse one completion; never raises, whatever the ids are.

    What follows the first eos is padding. A pair without a rationale of its number, and a pair
    with any defect, is dropped whole: its tokens are STRUCTURE, and later pairs keep their own
    numbers, so no token is ever credited to another interest. Each defect makes the completion
    invalid.
    """
    closed = fmt.eos in ids
    end = list(ids).index(fmt.eos) if closed else len(ids)
    reasons: list[Reason] = [] if closed else ["truncated"]
    whys, pairs = _arrange(_parts(ids, end, fmt, reasons), fmt, reasons)
    if not closed and (pairs or whys):
        (pairs or whys).pop()  # the last part is incomplete
    if len(whys) != len(pairs) or not whys:
        reasons.append("unpaired")
    if max(len(whys), len(pairs)) > max_interests:
        reasons.append("too many")
    reader = _Reader(ids, fmt, decode, max_queries)
    interests: dict[int, Interest] = {}
    spans = [STRUCTURE] * len(ids)
    for k, (why, pair) in enumerate(zip(whys[:max_interests], pairs, strict=False)):
        read = reader.read(why, pair)
        if isinstance(read, str):
            reasons.append(read)
            continue
        interests[k] = read
        _mark(spans, why, Segment("rationale", k))
        _mark(spans, pair.triggers, Segment("trigger", k))
        for j, part in enumerate(pair.queries):
            _mark(spans, part, Segment("query", k, j))
    return ParsedThink(interests, spans, not reasons, reasons[0] if reasons else "")


def _parts(ids: Sequence[int], end: int, fmt: ThinkFormat, reasons: list[Reason]) -> list[_Part]:
    markers = {fmt.why, fmt.interest, fmt.queries, fmt.sep}
    starts = [i for i in range(end) if ids[i] in markers]
    if not starts or starts[0] > 0:
        reasons.append("text before the first rationale")
    return [_Part(ids[a], a + 1, b) for a, b in pairwise([*starts, end])]


def _arrange(
    parts: Sequence[_Part], fmt: ThinkFormat, reasons: list[Reason]
) -> tuple[list[_Part], list[_Pair]]:
    """Rationales, then pairs. A part that is out of order is left out; a pair whose <queries>
    is missing has no queries, which its reader finds."""
    follows: dict[int, set[int | None]] = {
        fmt.why: {None, fmt.why},
        fmt.interest: {fmt.why, fmt.queries, fmt.sep},
        fmt.queries: {fmt.interest},
        fmt.sep: {fmt.queries, fmt.sep},
    }
    whys: list[_Part] = []
    pairs: list[_Pair] = []
    before: int | None = None
    for part in parts:
        if before not in follows[part.marker]:
            reasons.append("out of order")
            break
        before = part.marker
        if part.marker == fmt.why:
            whys.append(part)
        elif part.marker == fmt.interest:
            pairs.append(_Pair(part, []))
        else:
            pairs[-1].queries.append(part)
    return whys, pairs


@dataclass(frozen=True)
class _Reader:
    ids: Sequence[int]
    fmt: ThinkFormat
    decode: Callable[[tuple[int, ...]], str]
    max_queries: int

    def read(self, why: _Part, pair: _Pair) -> "Interest | Reason":
        """The interest, or the first defect of its parts."""
        rationale = self._text(why)
        if rationale is None or not rationale:
            return "special token" if rationale is None else "empty rationale"
        triggers = [self.fmt.behaviors.get(i) for i in self._ids(pair.triggers)]
        known = [i for i in triggers if i is not None]
        if not known or len(known) < len(triggers):
            return "no triggers"
        if len(set(known)) < len(known):
            return "repeated trigger"
        if len(pair.queries) > self.max_queries:
            return "too many"
        queries = [self._text(part) for part in pair.queries]
        texts = [query for query in queries if query]
        if not queries or len(texts) < len(queries):
            return "special token" if None in queries else "empty query"
        return Interest(rationale, tuple(known), tuple(texts))

    def _ids(self, part: _Part) -> tuple[int, ...]:
        return tuple(self.ids[part.start : part.stop])

    def _text(self, part: _Part) -> str | None:
        """Normalised text of a part; None where a special token stands in it."""
        piece = self._ids(part)
        return normalize(self.decode(piece)) if self.fmt.text.issuperset(piece) else None


def _mark(spans: list[Segment], part: _Part, segment: Segment) -> None:
    spans[part.start : part.stop] = [segment] * (part.stop - part.start)
