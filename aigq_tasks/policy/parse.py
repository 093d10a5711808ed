"""From the token ids of a completion to the query list it spells, and which token wrote what.

The ids are read directly. Decoded text would have lost the separators (decoding skips special
tokens), and per-token advantages need to know the query that every token belongs to.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from aigq_tasks.context.queries import normalize
from aigq_tasks.context.tokens import SEP
from aigq_tasks.errors import AigqError

STRUCTURE = -1  # segment id of a token that belongs to nothing with a reward of its own

Reason = Literal[
    "",
    "truncated",  # no end-of-sequence token
    "empty query",  # nothing between two separators, or nothing that survives normalisation
    "trailing separator",  # the list ends on a separator
    "special token",  # a special token other than the separator inside a query
    "too many queries",
]


@dataclass(frozen=True)
class ListFormat:
    """The ids that give a completion its structure.

    sep ends a query, eos ends the list; text holds every id that may stand inside a query
    (a model's output layer may be wider than its vocabulary: such ids are not text).
    """

    sep: int
    eos: int
    text: frozenset[int]

    @classmethod
    def of(cls, tokenizer: Any) -> "ListFormat":
        """Read the format from a Hugging Face tokenizer; AigqError if it knows no separator."""
        vocabulary = tokenizer.get_vocab()
        if SEP not in vocabulary or tokenizer.eos_token_id is None:
            raise AigqError(
                f"the tokenizer has no {SEP} or no end-of-sequence token; "
                "load model and tokenizer with aigq_tasks.policy.backbone.load_backbone"
            )
        text = frozenset(vocabulary.values()).difference(tokenizer.all_special_ids)
        return cls(vocabulary[SEP], tokenizer.eos_token_id, text)


@dataclass(frozen=True)
class ParsedList:
    """A completion as a list.

    queries: normalised, best first, each from one whole, well-formed query of the completion.
    spans: one segment id per token of the completion: j for a token of queries[j], else
    STRUCTURE (separators, the end, padding, and every token of a query that was dropped).
    valid: whether the completion is well-formed throughout; reason: the first defect, "" if none.
    """

    queries: list[str]
    spans: list[int]
    valid: bool
    reason: Reason


@dataclass(frozen=True)
class Slots:
    """queries: slot -> normalised query. triggers: slot -> history lines (1-based)."""

    queries: dict[int, str]
    triggers: dict[int, tuple[int, ...]]


@dataclass(frozen=True)
class Rollout:
    """A parsed completion. segments: the slot of every token, STRUCTURE for one that belongs to
    none. valid: well-formed throughout."""

    slots: Slots
    segments: list[int]
    valid: bool


def parse_completion(
    ids: Sequence[int],
    fmt: ListFormat,
    decode: Callable[[tuple[int, ...]], str],
    max_queries: int,
) -> ParsedList:
    """Parse one completion; never raises, whatever the ids are.

    What follows the first eos is padding. Without eos the last query is incomplete and is
    dropped. An empty query and one that holds a special token are dropped too, and the later
    ones move up: queries[j] is always the j-th query that can be scored. Queries beyond
    max_queries are dropped. Each of these defects makes the list invalid.
    """
    closed = fmt.eos in ids
    end = list(ids).index(fmt.eos) if closed else len(ids)
    pieces = _split(ids, end, fmt.sep)
    reasons: list[Reason] = []
    if not closed:
        pieces.pop()
        reasons.append("truncated")
    queries: list[str] = []
    spans = [STRUCTURE] * len(ids)
    for start, stop in pieces:
        piece = tuple(ids[start:stop])
        text = normalize(decode(piece)) if fmt.text.issuperset(piece) else ""
        reason = _defect(piece, text, fmt, len(queries) == max_queries)
        if reason == "empty query" and start == stop == end and start > 0:
            reason = "trailing separator"
        if reason:
            reasons.append(reason)
        else:
            spans[start:stop] = [len(queries)] * (stop - start)
            queries.append(text)
    return ParsedList(queries, spans, not reasons, reasons[0] if reasons else "")


def _split(ids: Sequence[int], end: int, sep: int) -> list[tuple[int, int]]:
    """(start, stop) of every piece of ids[:end] between separators; at least one piece."""
    cuts = [i for i in range(end) if ids[i] == sep]
    return list(zip([0, *(cut + 1 for cut in cuts)], [*cuts, end], strict=True))


def _defect(piece: tuple[int, ...], text: str, fmt: ListFormat, is_full: bool) -> Reason:
    if not fmt.text.issuperset(piece):
        return "special token"
    if not text:
        return "empty query"
    return "too many queries" if is_full else ""


def parse_completions(
    completions: Sequence[Sequence[int]], tokenizer: Any, max_queries: int
) -> list[ParsedList]:
    """`parse_completion` for a batch, with the tokenizer's own decoding; each distinct query is
    decoded once. AigqError if the tokenizer lacks the separator."""
    fmt = ListFormat.of(tokenizer)

    @cache
    def decode(piece: tuple[int, ...]) -> str:
        return str(tokenizer.decode(list(piece)))

    return [parse_completion(ids, fmt, decode, max_queries) for ids in completions]
