"""R7: how households word their needs, with a long tail.

Variant 0 of a need is its head phrase, the next are its other phrasings, and the rest add
attributes, brands and sizes before or after a phrasing, change the order of its words, or misspell
one. Which variant a household uses is drawn once per household and need.
"""

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray

from aigq_tasks.context.queries import is_allowed
from aigq_tasks.sources.market.intent.draws import Floats, Purpose, uniform
from aigq_tasks.sources.market.intent.lexicon import load_phrasings
from aigq_tasks.sources.market.intent.modifiers import modifiers_of
from aigq_tasks.sources.market.intent.reading import interpret, readable_misspellings
from aigq_tasks.sources.market.intent.rules import HABIT, HEAD_WORDS, OTHER_WORDS, OWN_WORDS, Intent

_FIXED = 0  # the wordings of a need are the same in every market, whatever its seed
_FURTHEST = 2.0**62
# From so many variants on, texts carry so many additions and are misspelt so often.
_ADDITIONS = ((0, 1, 0.0), (12, 2, 0.15), (150, 3, 0.4))
HEAD_PHRASE = 0.5  # share of the further variants that are made of the head phrase
TURNED = 0.2  # share of them whose phrase has its words in another order


def variants(draws: Floats, intent: Intent) -> NDArray[np.int64]:
    """Variant numbers of uniform draws: floor(b · (u^(-1/a) - 1)), b = 1 / ((1-p)^(-1/a) - 1), so
    that 0 has the share p = intent.head; int64, the shape of the draws."""
    if intent.head >= 1.0:
        return np.zeros(np.shape(draws), np.int64)
    scale = 1.0 / ((1.0 - intent.head) ** (-1.0 / intent.power) - 1.0)
    tail = (1.0 - np.asarray(draws)) ** (-1.0 / intent.power) - 1.0
    found: NDArray[np.int64] = np.minimum(np.floor(scale * tail), _FURTHEST).astype(np.int64)
    return found


def own_wordings(
    households: NDArray[np.int64], needs: NDArray[np.int64], intent: Intent, seed: int
) -> list[str]:
    """How each household words the need beside it."""
    draws = uniform(seed, Purpose.OWN_WORDING, households, needs)
    return _written(needs, variants(draws, intent))


def typed_wordings(
    households: NDArray[np.int64],
    needs: NDArray[np.int64],
    occasion: tuple[NDArray[np.int64], NDArray[np.int64]],
    intent: Intent,
    seed: int,
) -> list[str]:
    """How it is worded on an occasion (session, step): HABIT of the time in the household's own
    way, else drawn anew."""
    habit = uniform(seed, Purpose.HABIT, *occasion) < HABIT
    own = uniform(seed, Purpose.OWN_WORDING, households, needs)
    anew = uniform(seed, Purpose.OTHER_WORDING, *occasion)
    return _written(needs, variants(np.where(habit, own, anew), intent))


def _written(needs: NDArray[np.int64], variant: NDArray[np.int64]) -> list[str]:
    return [wording(n, w) for n, w in zip(needs.tolist(), variant.tolist(), strict=True)]


def match(query: str, need: int, own: str, today: str) -> float:
    """How well a query that names the need meets it: 1 in the household's own words, or in those
    that it is about to type; 0.8 in the head phrase; 0.5 in others."""
    if query in (own, today):
        return OWN_WORDS
    return HEAD_WORDS if query == load_phrasings()[need][0] else OTHER_WORDS


@cache
def wording(need: int, variant: int) -> str:
    """The text of a variant: a query that may be shown (`is_allowed`), and that names the need."""
    phrasings = load_phrasings()[need]
    if variant < len(phrasings):
        return phrasings[variant]
    draws = uniform(_FIXED, Purpose.PARTS, need, variant, np.arange(12)).tolist()
    _, count, misspelt = next(
        row for row in reversed(_ADDITIONS) if variant - len(phrasings) >= row[0]
    )
    phrase = phrasings[0] if draws[0] < HEAD_PHRASE else _pick(phrasings, draws[1])
    if draws[2] < TURNED:
        phrase = " ".join(reversed(phrase.split()))
    added = _added(need, count, draws[3:9])
    for kept in range(count, 0, -1):
        text = _joined(phrase, added[:kept], draws[9])
        if draws[10] < misspelt:
            text = _misspelt(text, draws[11])
        if is_allowed(text) and need in interpret(text):
            return text
    return phrasings[0]


def _added(need: int, count: int, draws: list[float]) -> list[str]:
    """One addition each of `count` kinds (attribute, brand, size), the kinds in random order."""
    kinds = modifiers_of(need)
    order = np.argsort(draws[:3], kind="stable").tolist()
    return [_pick(kinds[kind], draws[3 + kind]) for kind in order if kinds[kind]][:count]


def _joined(phrase: str, added: list[str], draw: float) -> str:
    """The phrase with the first of the additions before it for half of the draws, others after."""
    before = math.floor(draw * 2)
    return " ".join([*added[:before], phrase, *added[before:]])


def _misspelt(text: str, draw: float) -> str:
    """One of its words misspelt, if any can be."""
    words = text.split()
    options = [(i, wrong) for i, word in enumerate(words) for wrong in readable_misspellings(word)]
    if not options:
        return text
    place, wrong = options[math.floor(draw * len(options))]
    return " ".join([*words[:place], wrong, *words[place + 1 :]])


def _pick(options: tuple[str, ...], draw: float) -> str:
    return options[math.floor(draw * len(options))]
