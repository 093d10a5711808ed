"""R6: when a shown hint is clicked.

This is the only place that compares queries with hidden needs. It shares no code and no features
with the click model or the policy.
"""

import math

from aigq_tasks.sources.market.intent.rules import (
    ABOVE,
    APPEAL,
    EXAMINE,
    FOCUS_FLOOR,
    FOCUS_STEPS,
    NOISE,
)

_EXAMINE_ON = EXAMINE[-1] / EXAMINE[-2]  # of those who look at one hint, who look at the next


def examine(position: int) -> float:
    """Chance that the hint at a position, from 1 on, is looked at: beyond the third it falls by
    the factor by which it fell to the third."""
    beyond = position - len(EXAMINE)
    return EXAMINE[position - 1] if beyond <= 0 else EXAMINE[-1] * _EXAMINE_ON**beyond


def focus(ahead: int) -> float:
    """How much of the attention a need has that comes so many steps later, 1 for the next one."""
    return FOCUS_FLOOR + (1.0 - FOCUS_FLOOR) * math.exp(-ahead / FOCUS_STEPS)


def appeal(quality: float, ahead: int, above: bool) -> float:
    """What meeting a need that is to be typed adds to the chance of a click, once the hint is
    looked at. quality: of the match; above: a hint above on the same page names the need too."""
    return APPEAL * quality * focus(ahead) * (ABOVE if above else 1.0)


def click_probability(position: int, quality: float, ahead: int, above: bool) -> float:
    """P(click) = examine · (noise + appeal); quality 0: the hint meets no need."""
    return examine(position) * (NOISE + appeal(quality, ahead, above))
