"""The market's truth: does a shown query meet a need of the visit, and is it clicked?

This is the only place that compares queries with the hidden basket. It shares no code and no
features with the click model or the policy: it reads the lexicon backwards (phrase → needs).
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from aigq_tasks.sources.market.catalogue import load_catalogue
from aigq_tasks.sources.market.lexicon import MODIFIERS, load_phrasings
from aigq_tasks.sources.market.visits import own_phrases

EXAMINE = (1.0, 0.72, 0.52)  # chance that the hint at position 1, 2, 3 is looked at
EXAMINE_ON = EXAMINE[-1] / EXAMINE[-2]  # of those who look at one hint, who look at the next
APPEAL = 0.7  # click probability of an examined hint that meets a need in the shopper's words
NOISE = 0.006  # click probability of an examined hint that meets no need
PATIENCE_HOURS = 36.0  # interest in a need fades with the time until the visit
SATISFIED = 0.15  # what is left of the appeal of a need after a hint for it was clicked
# How well a query meets a need: in the household's own words, in other words for it, with a
# modifier that is not the household's, or only on the same shelf.
OWN_WORDS, OTHER_WORDS, OTHER_MODIFIER, SAME_SHELF = 1.0, 0.8, 0.7, 0.08


@dataclass(frozen=True)
class Lexicon:
    """phrase -> need numbers; head word sets for text that no phrasing equals."""

    needs_of: Mapping[str, tuple[int, ...]]
    shelf_of: Sequence[str]


@cache
def lexicon() -> Lexicon:
    needs_of: dict[str, list[int]] = defaultdict(list)
    for need, phrases in enumerate(load_phrasings()):
        for phrase in phrases:
            needs_of[phrase].append(need)
    shelves = load_catalogue().needs["category"].tolist()
    return Lexicon({p: tuple(n) for p, n in needs_of.items()}, shelves)


@cache
def interpret(query: str) -> tuple[tuple[int, ...], str]:
    """The needs that a normalised query names, and its modifier ("" if none).

    Exact phrase first; then without a modifier; then the words in another order or with one
    extra word ("fresh raspberries bag"). A text that names nothing gives ((), "").
    """
    known = lexicon().needs_of
    if query in known:
        return known[query], ""
    for modifier in MODIFIERS:
        stem = query.removesuffix(" " + modifier)
        if stem != query:
            return interpret(stem)[0], modifier
    return _by_words().get(frozenset(query.split()), _one_word_less(query)), ""


@cache
def _by_words() -> dict[frozenset[str], tuple[int, ...]]:
    table: dict[frozenset[str], tuple[int, ...]] = {}
    for phrase, needs in lexicon().needs_of.items():
        words = frozenset(phrase.split())
        table[words] = tuple(dict.fromkeys([*table.get(words, ()), *needs]))
    return table


def _one_word_less(query: str) -> tuple[int, ...]:
    words = query.split()
    for i in range(len(words)):
        needs = _by_words().get(frozenset(words[:i] + words[i + 1 :]))
        if needs and len(words) > 2:
            return needs
    return ()


@dataclass(frozen=True)
class Basket:
    """The hidden need of one visit."""

    household: int
    needs: frozenset[int]
    shelves: frozenset[str]

    @classmethod
    def of(cls, household: int, needs: Sequence[int]) -> "Basket":
        shelf_of = lexicon().shelf_of
        return cls(household, frozenset(needs), frozenset(shelf_of[n] for n in needs))


def match(query: str, basket: Basket, seed: int) -> tuple[float, int]:
    """How well a query meets the basket, in [0, 1], and the need it meets (-1 for none)."""
    qualities = needs_named(query, basket, seed)
    best = max(qualities, key=qualities.__getitem__, default=-1)
    if qualities.get(best, 0.0) > 0:
        return qualities[best], best
    shelf_of = lexicon().shelf_of
    if any(shelf_of[need] in basket.shelves for need in qualities):
        return SAME_SHELF, -1
    return 0.0, -1


def needs_named(query: str, basket: Basket, seed: int) -> dict[int, float]:
    """Every need that a query names -> how well it meets it, in [0, 1]; 0 for a need that is not
    in the basket."""
    needs, modifier = interpret(query)
    qualities = dict.fromkeys(needs, 0.0)
    met = [need for need in needs if need in basket.needs]
    if met:
        words = own_phrases(np.full(len(met), basket.household), np.array(met), seed)
        other = OTHER_MODIFIER if modifier else OTHER_WORDS
        for need, own in zip(met, words, strict=True):
            qualities[need] = OWN_WORDS if query == own else other
    return qualities


def examine(position: int) -> float:
    """Chance that the hint at a position, from 1 on, is looked at: beyond the third it falls by
    the factor by which it fell to the third."""
    beyond = position - len(EXAMINE)
    return EXAMINE[position - 1] if beyond <= 0 else EXAMINE[-1] * EXAMINE_ON**beyond


def click_probability(
    quality: float, position: int, hours_to_visit: float, satisfied: bool
) -> float:
    """P(click | quality of the match, position from 1 on, hours until the visit, need already met).

    examine(position) · (noise + appeal · quality · fading), fading = exp(−hours / 36), times
    0.15 if a hint for the same need was clicked before this visit already.
    """
    fading = math.exp(-hours_to_visit / PATIENCE_HOURS) * (SATISFIED if satisfied else 1.0)
    return examine(position) * (NOISE + APPEAL * quality * fading)
