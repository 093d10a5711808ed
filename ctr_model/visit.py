"""What is known of a visit at the second of a request: counts and recency of the last day.

The snapshot of `features` ends with the day before; here is what came since, request by request.
All requests of a batch share one numbering of phrases, so that a lookup of n pairs is one numpy
call.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ctr_model.columns import Floats, Ints, Ragged, count_by, gather, ratio, sum_by
from ctr_model.snapshot import Keys

VISIT_FEATURES = (
    "visit_events",  # behaviours since the last pause of VISIT_GAP, as long as it is not over
    "visit_minutes_since",  # since the latest behaviour of the last day; NaN: none
    "visit_query_minutes",  # since this very phrase was met in the last day; NaN: not met
    "visit_category_events",  # behaviours of the last day in the query's category
    "visit_category_minutes",  # since the newest of them; NaN: none
    "visit_words",  # share of the query's words met in the last day
)
VISIT_GAP = 30.0  # minutes without a behaviour that end a visit
LOOK_BACK = 1440.0  # minutes


@dataclass(frozen=True)
class Visits:
    """The last day of every request of a batch.

    events, latest: per request (requests,): behaviours of the visit, minutes since the latest.
    met, of_category, words: newest minutes (keys,) of (request, phrase), (request, category) and
    (request, word); counts: behaviours per (request, category).
    """

    events: Floats
    latest: Floats
    met: tuple[Keys, Floats]
    of_category: tuple[Keys, Floats]
    counts: Floats
    words: tuple[Keys, Floats]
    phrase_category: Ints
    phrase_words: Ragged

    @classmethod
    def of(
        cls,
        requests: int,
        request: Ints,
        minutes: Floats,
        phrase: Ints,
        phrases: Sequence[str],
        category_of: Callable[[Sequence[str]], Sequence[str]],
    ) -> "Visits":
        """Of the behaviours of LOOK_BACK before each request, in order of request.

        request, minutes, phrase: (behaviours,): whose, how long before, index into phrases.
        phrases: those of the behaviours and of the queries that are asked about. category_of: the
        leaf category of each, "" for none.
        """
        split = [list(dict.fromkeys(text.split())) for text in phrases]
        words = {word: i for i, word in enumerate(sorted({w for own in split for w in own}))}
        labels = list(category_of(phrases))
        names = {label: i for i, label in enumerate(sorted(set(labels) - {""}))}
        category = np.array([names.get(label, -1) for label in labels], np.int64)
        ragged = Ragged.of([[words[word] for word in own] for own in split])
        event, word = ragged.take(phrase)
        of_event = category[phrase]
        known = of_event >= 0
        by_category = _newest(request[known], of_event[known], minutes[known], len(names))
        row = by_category[0].find(request[known], of_event[known])
        latest = np.full(requests, np.nan)
        np.fmin.at(latest, request, minutes)
        return cls(
            events=_in_visit(requests, request, minutes),
            latest=latest,
            met=_newest(request, phrase, minutes, len(phrases)),
            of_category=by_category,
            counts=count_by(row, len(by_category[1])),
            words=_newest(request[event], word, minutes[event], len(words)),
            phrase_category=category,
            phrase_words=ragged,
        )

    def columns(self, request: Ints, phrase: Ints) -> Floats:
        """(n, VISIT_FEATURES) of n pairs of a request and a phrase."""
        row = self.of_category[0].find(request, self.phrase_category[phrase])
        pair, word = self.phrase_words.take(phrase)
        hit = self.words[0].find(request[pair], word) >= 0
        n = len(request)
        share = ratio(sum_by(pair, hit.astype(np.float64), n), count_by(pair, n))
        return np.column_stack(
            [
                self.events[request],
                self.latest[request],
                gather(self.met[1], self.met[0].find(request, phrase), np.nan),
                gather(self.counts, row, 0.0),
                gather(self.of_category[1], row, np.nan),
                share,
            ]
        )


def unvisited(n: int) -> Floats:
    """(n, VISIT_FEATURES) where nothing is known of the last day."""
    return np.tile(np.array([0.0, np.nan, np.nan, 0.0, np.nan, 0.0]), (n, 1))


def _newest(owner: Ints, thing: Ints, minutes: Floats, width: int) -> tuple[Keys, Floats]:
    """Distinct (owner, thing), and the fewest minutes of each."""
    values, group = np.unique(owner * width + thing, return_inverse=True)
    newest = np.full(len(values), np.inf)
    np.minimum.at(newest, group, minutes)
    return Keys(width, values), newest


def _in_visit(requests: int, request: Ints, minutes: Floats) -> Floats:
    """Behaviours of each request since the last pause of VISIT_GAP; 0 when it has lasted until
    now."""
    order = np.lexsort((minutes, request))  # newest first
    owner, ago = request[order], minutes[order]
    first = np.ones(len(owner), bool)
    first[1:] = owner[1:] != owner[:-1]
    pause = ago - np.where(first, 0.0, np.append(0.0, ago[:-1]))
    over = np.cumsum(pause > VISIT_GAP)
    # Pauses up to each behaviour within its own request.
    before = np.maximum.accumulate(np.where(first, over - (pause > VISIT_GAP), 0))
    return count_by(owner[over == before], requests)
