"""Which queries mean one need, and a ranking that names none twice.

Two queries are near-duplicates when they share most of their words or when their embeddings are
close. A page then takes candidates one by one: the best value first, where the value of a candidate
falls with its likeness to what already stands above it (maximal marginal relevance, Carbonell &
Goldstein, SIGIR 1998), and without near-duplicates of those.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from aigq_tasks.recall.asked import Floats, Ints, chunks, rank_in_group
from aigq_tasks.recall.config import Candidates

_REQUESTS_AT_ONCE = 128  # keeps the block of likenesses at some MB


@dataclass(frozen=True)
class Meanings:
    """What is compared of queries. vectors: float32 (texts, d), unit or zero rows. words: word
    numbers (texts, longest), -1 where a text has ended."""

    vectors: NDArray[np.float32]
    words: Ints

    @classmethod
    def of(cls, texts: Sequence[str], vectors: NDArray[np.float32]) -> "Meanings":
        split = [words_of(text) for text in texts]
        number: dict[str, int] = {}
        flat = [number.setdefault(word, len(number)) for own in split for word in own]
        length = np.array([len(own) for own in split], np.int64)
        words = np.full((len(split), int(length.max(initial=1))), -1, np.int64)
        words[np.arange(words.shape[1]) < length[:, None]] = flat
        return cls(vectors, words)


@lru_cache(maxsize=200_000)
def words_of(text: str) -> tuple[str, ...]:
    """The distinct words of a text, remembered."""
    return tuple(dict.fromkeys(text.split()))


def spread(
    scores: Floats, texts: Ints, meanings: Meanings, config: Candidates, length: int
) -> tuple[Ints, Floats]:
    """Re-rank candidates: the order of the best `length`, and the value that each was taken for.

    Step by step the candidate of the highest value is taken, ties by column; its value is
    score − diversity · (its highest cosine with one taken before, at least 0). Divided by
    1 + diversity that is MMR with λ = 1 / (1 + diversity). A near-duplicate of one taken before is
    never taken, so values fall from rank to rank.

    Args:
        scores: (requests, candidates), −inf where a request has none.
        texts: (requests, candidates), rows of `meanings`.

    Returns:
        Columns (requests, length), −1 where nothing is left, and values (requests, length), −inf
        there.
    """
    order = np.full((len(scores), length), -1, np.int64)
    values = np.full((len(scores), length), -np.inf)
    for part in chunks(len(scores), _REQUESTS_AT_ONCE):
        order[part], values[part] = _spread(scores[part], texts[part], meanings, config, length)
    return order, values


def _spread(
    scores: Floats, texts: Ints, meanings: Meanings, config: Candidates, length: int
) -> tuple[Ints, Floats]:
    n, width = scores.shape
    vectors, words = meanings.vectors[texts], Words.of(meanings.words[texts])
    cosine = vectors @ vectors.transpose(0, 2, 1)  # (requests, candidates, candidates)
    each, left = np.arange(n), np.isfinite(scores)
    likest = np.zeros((n, width))
    order, values = np.full((n, length), -1, np.int64), np.full((n, length), -np.inf)
    for rank in range(min(length, width)):
        value = np.where(left, scores - config.diversity * likest, -np.inf)
        pick = value.argmax(axis=1)
        some = left[each, pick]
        if not some.any():
            break
        order[some, rank] = pick[some]
        values[some, rank] = value[each, pick][some]
        to_pick = cosine[each, pick]
        likest = np.maximum(likest, to_pick)
        alike = (to_pick >= config.same_cosine) | (words.overlap(pick) >= config.same_words)
        left &= ~alike | ~some[:, None]
        left[each, pick] = False
    return order, values


@dataclass(frozen=True)
class Words:
    """Which words each candidate of a request has, as bits. bits: uint64 (requests, candidates,
    lanes), a word's bit is its number among the words of the request. count: (requests,
    candidates)."""

    bits: NDArray[np.uint64]
    count: Ints

    @classmethod
    def of(cls, words: Ints) -> "Words":
        """words: word numbers (requests, candidates, longest), -1 is none."""
        request, candidate, place = np.nonzero(words >= 0)
        width = int(words.max(initial=0)) + 1
        values, group = np.unique(
            request * width + words[request, candidate, place], return_inverse=True
        )
        own = rank_in_group(values // width)[group]
        bits = np.zeros((*words.shape[:2], int(own.max(initial=0)) // 64 + 1), np.uint64)
        bit = np.uint64(1) << (own % 64).astype(np.uint64)
        np.bitwise_or.at(bits, (request, candidate, own // 64), bit)
        return cls(bits, (words >= 0).sum(axis=2))

    def overlap(self, pick: Ints) -> Floats:
        """Jaccard index of the words of each candidate with those of the picked one of its request,
        (requests, candidates); 0 where neither has a word. pick: columns (requests,)."""
        each = np.arange(len(pick))
        met = np.bitwise_count(self.bits & self.bits[each, pick][:, None])
        common = met.sum(axis=2, dtype=np.int64)
        either = self.count + self.count[each, pick][:, None] - common
        shared: Floats = common / np.maximum(either, 1)
        return shared
