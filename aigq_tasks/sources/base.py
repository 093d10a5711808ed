"""What a source of the log is: it lands days of the log contract, and may know the truth.

The stage `logs` asks a source for a day and checks what comes against `aigq_tasks.logs`. A source
that replays shoppers has requests to answer while it lands a day: `serve` answers them as the
release that is live would have. A source of a log that happened already needs no `serve`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import pandas as pd

# (users, queries), n each -> for each pair the needs that the query names, and the chance that it
# meets them: 0 for a need that the user does not have, NaN for a user of whom nothing is known.
Needs = Callable[[Sequence[str], Sequence[str]], list[Mapping[str, float]]]


@dataclass(frozen=True)
class Served:
    """What production showed.

    exposures: the columns of `hint_impressions` but `clicked` and `click_time`, one row per hint,
    in the order of the requests, then position. rankings: the table `hint_rankings`. features: one
    row per exposure in the same order: request_id, position (int64) and what the click model saw.
    """

    exposures: "pd.DataFrame"
    rankings: "pd.DataFrame"
    features: "pd.DataFrame"


# Requests of a day (request_id, user_id, time; other columns are ignored) -> what they were shown.
Serve = Callable[["pd.DataFrame"], Served]


class Source(Protocol):
    """A source of days of log."""

    @property
    def label(self) -> str:
        """What MLflow's tag "data" and the reports call it, so that nobody takes it for another."""
        ...

    @property
    def truth_ahead(self) -> int:
        """How many days after a request the visit that it belongs to may begin: so far ahead lies
        the truth of what is asked on a day. 0 where it is the same day, or nobody knows."""
        ...

    def days(self) -> tuple[date, date | None]:
        """The first and the last day that it can land; None: it goes on."""
        ...

    def digest(self, day: date) -> str:
        """SHA-256 (hex) of all that `land` would read for the day: it may grow as events arrive."""
        ...

    def land(self, day: date, serve: Serve | None) -> "dict[str, pd.DataFrame]":
        """The tables of the day, of the log contract (`logs.schema`). serve: None on a day that no
        release serves; then there are no hints.

        Beside the contract's tables it may give `impression_features` (of `Served.features`) and
        `late_next_day`, clicks on the day's hints that come after its end, in the columns of
        `late_clicks`: they are part of the next day's log.
        """
        ...

    def people(self, user_ids: "Sequence[str]") -> list[str]:
        """Who each user is, as far as the source knows: ids of one person, or of one household,
        have one name. What they do is not independent, so intervals are drawn over these. A source
        that knows nothing gives the ids back."""
        ...

    def truth(self, day: date) -> Needs | None:
        """Which needs of the users on `day` queries would meet; None where nobody knows such a
        thing. For reports and training logs: nothing that trains, serves or gates may read it."""
        ...
