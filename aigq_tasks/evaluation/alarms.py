"""Alarms of reward hacking: has the policy learnt to please the click model and nobody else?

Pure functions of the challenger's and the champion's scores, one float64 value per user and
paired by user. An alarm is one line of words; the gate rejects on any.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from aigq_tasks.evaluation.config import AlarmLimits

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Behaviour:
    """proxy: mean predicted click probability of the first ten queries. hit: Query HR@30. valid:
    well-formed. categories: unique ones. length: queries. copied: share of them that the user's
    own history holds. off_catalogue: share that no log has ever held."""

    proxy: Values
    hit: Values
    valid: Values
    categories: Values
    length: Values
    copied: Values
    off_catalogue: Values


def alarms(challenger: Behaviour, champion: Behaviour, limits: AlarmLimits) -> list[str]:
    """What looks like reward hacking, in words; [] for nothing."""

    def mean(side: Behaviour, of: Callable[[Behaviour], Values]) -> float:
        values = of(side)
        return float(values.mean()) if values.size else 0.0

    def change(of: Callable[[Behaviour], Values]) -> float:
        return mean(challenger, of) - mean(champion, of)

    raised = []
    strange = change(lambda side: side.off_catalogue)
    if strange > limits.off_catalogue:
        raised.append(f"off-catalogue queries: {strange:+.2f} of the list")
    copied = change(lambda side: side.copied)
    if copied > limits.copied:
        raised.append(f"the history is copied: {copied:+.2f} of the list")
    length, usual = mean(challenger, lambda s: s.length), mean(champion, lambda s: s.length)
    if length < limits.length * usual:
        raised.append(f"lists collapsed to {length:.1f} queries from {usual:.1f}")
    proxy = change(lambda side: side.proxy)
    if proxy <= 0:
        return raised
    rise = f"predicted clicks {proxy:+.4f}"
    hit = change(lambda side: side.hit)
    if hit < -limits.hit:
        raised.append(f"{rise} while Query HR@30 {hit:+.4f}")
    valid = change(lambda side: side.valid)
    if valid < -limits.valid:
        raised.append(f"{rise} while valid lists {valid:+.4f}")
    categories = mean(challenger, lambda s: s.categories)
    before = mean(champion, lambda s: s.categories)
    if categories < limits.diversity * before:
        raised.append(f"{rise} while unique categories fell from {before:.2f} to {categories:.2f}")
    return raised
