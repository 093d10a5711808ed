"""The rules R1-R7 of the market in numbers (docs/market.md says where each comes from).

They were committed before any policy was trained on them. Nothing here is fitted to what a model
earns; they are held by the public facts on the market's card.
"""

from dataclasses import dataclass
from typing import Literal

IntentName = Literal["weak", "default", "strong", "one_string"]

DAY_BEGINS = 8  # hours: the quietest time of the data set, so midnight of the log cuts no visit
FEWEST_NEEDS = 3  # a basket of fewer is an errand and no visit

# R1: a need is typed, not walked to, with min(MOST_TYPED, SCALE · idf^RARITY · routine).
TYPED = 0.20  # share of the lines of baskets that are typed
RARITY = 1.5
MOST_TYPED = 0.7
ROUTINE = 0.4  # times this if the household had it within ROUTINE_DAYS
ROUTINE_DAYS = 56

# R2: the next need of the basket with weight exp(ORDER · PMI+(last, next)).
ORDER = 2.0
SMOOTHING = 5.0  # "add-5" of the counts behind PMI+
KNOWN_NEEDS = 1200  # the commonest needs; what is rarer belongs together with nothing

# R3: after each step on to a need that is not in the basket, again and again.
CURIOUS = 0.4
SHARPNESS = 3.0  # with weight exp(SHARPNESS · PMI+(last, neighbour))
NEIGHBOURS = 40
CURIOUS_TYPED = 0.45
CURIOUS_BOUGHT = 0.15  # share of what curiosity leads to that is bought all the same
LONGEST_DETOUR = 8  # steps; 0.4^8 of the detours are longer

# R4: a need is considered with CONSIDERED_SCALE · idf · (1 if not had for ROUTINE_DAYS, else ...).
CONSIDERED = 0.05  # share of the lines of baskets
CONSIDERED_ROUTINE = 0.3
LOOK_HOURS, EARLIER_HOURS, LOOK_SIGMA = 5.0, 12.0, 1.0  # LogN: a look before the visit, and before
SHORTEST_LOOK, LONGEST_LOOK = 0.5, 72.0  # hours between a look and what follows it
LOOKED_AGAIN = 0.4
LOOK_TYPED = 0.7
REFIND = 0.5  # a need that was looked at is typed at the visit with this at least
DECOYS = 1  # per considered need: looked at likewise, and never bought
LOOKS_DAYS = 6  # whole days by which the longest look precedes its visit

# R5: a request at the start of each session, and before each later step with INSIDE.
INSIDE = 0.3

# R6: EXAMINE · (NOISE + APPEAL · match · focus · typed).
EXAMINE = (1.0, 0.72, 0.52)
NOISE = 0.004
APPEAL = 0.9
FOCUS_FLOOR, FOCUS_STEPS = 0.15, 3.0  # focus = floor + (1 - floor) · exp(-steps ahead / steps)
ABOVE = 0.1  # of the appeal of a need that a hint above on the same page names
OWN_WORDS, HEAD_WORDS, OTHER_WORDS = 1.0, 0.8, 0.5

# R7
HABIT = 0.75  # share of searches in the household's own wording of the need
FOUND = 0.7  # share of searches, and of clicked hints, whose results are clicked


@dataclass(frozen=True)
class Intent:
    """Wording of R7: a need's variant is floor(b · (u^(-1/power) - 1)), where b gives the head
    variant (0) the share `head`."""

    head: float
    power: float


INTENTS: dict[IntentName, Intent] = {
    "weak": Intent(0.46, 0.7),
    "default": Intent(0.35, 0.2),
    "strong": Intent(0.25, 0.12),
    "one_string": Intent(1.0, 1.0),  # the control: each need has one string
}
