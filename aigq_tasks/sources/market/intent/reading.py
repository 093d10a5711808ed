"""The lexicon read backwards: which needs does a query name?

It shares no code with what writes or scores queries. A text is read as a shop's clerk would: the
name of a need with anything that people add to names, misspelt words set right.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import combinations

from aigq_tasks.sources.market.intent.lexicon import load_phrasings
from aigq_tasks.sources.market.intent.modifiers import modifier_words

SHORTEST_MISSPELT = 5  # letters of a word that may be misspelt
_LONGEST = 8  # words of a text that is read


@cache
def interpret(query: str) -> tuple[int, ...]:
    """The needs that a normalised query names, none if it names nothing.

    The phrase itself; else the longest name whose other words are all modifiers; else, from three
    words on, the same with one word that nobody knows ("fresh raspberries bag").
    """
    known = _needs_of().get(query)
    if known is not None:
        return known
    words = [_spelled().get(word, word) for word in query.split()]
    if len(words) > _LONGEST:
        return ()
    return _named(words, 0) or (_named(words, 1) if len(words) > 2 else ())


def misspellings(word: str) -> Iterator[str]:
    """A letter left out, or two swapped, never the first; none of a short word."""
    if len(word) < SHORTEST_MISSPELT:
        return
    for i in range(1, len(word)):
        yield word[:i] + word[i + 1 :]
        if i + 1 < len(word) and word[i] != word[i + 1]:
            yield word[:i] + word[i + 1] + word[i] + word[i + 2 :]


@cache
def readable_misspellings(word: str) -> tuple[str, ...]:
    """Those from which the word can be told."""
    return tuple(text for text in misspellings(word) if _spelled().get(text) == word)


def _named(words: list[str], strange: int) -> tuple[int, ...]:
    """The needs of the longest name among the words, `strange` others being no modifiers."""
    for size in range(len(words) - strange, 0, -1):
        for name in combinations(range(len(words)), size):
            others = [word for i, word in enumerate(words) if i not in name]
            if sum(word not in modifier_words() for word in others) <= strange:
                needs = _by_words().get(frozenset(words[i] for i in name))
                if needs:
                    return needs
    return ()


@cache
def _needs_of() -> Mapping[str, tuple[int, ...]]:
    """phrase -> the needs that have it."""
    needs: dict[str, list[int]] = defaultdict(list)
    for need, phrases in enumerate(load_phrasings()):
        for phrase in phrases:
            needs[phrase].append(need)
    return {phrase: tuple(found) for phrase, found in needs.items()}


@cache
def _by_words() -> Mapping[frozenset[str], tuple[int, ...]]:
    table: dict[frozenset[str], tuple[int, ...]] = {}
    for phrase, needs in _needs_of().items():
        words = frozenset(phrase.split())
        table[words] = tuple(dict.fromkeys([*table.get(words, ()), *needs]))
    return table


@cache
def _spelled() -> Mapping[str, str]:
    """Misspelt word -> the word, where that is clear."""
    words = {word for phrase in _needs_of() for word in phrase.split()} | modifier_words()
    meant: dict[str, set[str]] = defaultdict(set)
    for word in sorted(words):
        for text in misspellings(word):
            meant[text].add(word)
    return {
        text: next(iter(found))
        for text, found in meant.items()
        if len(found) == 1 and text not in words
    }
