"""Which hints of a page are clicked: R6 on the hidden needs of a day's sessions."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aigq_tasks.sources.market.intent.clicks import appeal, examine
from aigq_tasks.sources.market.intent.draws import Purpose, uniform
from aigq_tasks.sources.market.intent.reading import interpret
from aigq_tasks.sources.market.intent.rules import NOISE
from aigq_tasks.sources.market.intent.sessions import Day
from aigq_tasks.sources.market.intent.wording import match

Ints = NDArray[np.int64]


class Option(NamedTuple):
    """A typed step that a hint could spare: its row and need, how well the hint's words match, how
    many steps ahead it is, and the uniform draw that decides about the click."""

    row: int
    need: int
    quality: float
    ahead: int
    draw: float


class Pages:
    """The pages of a day. Draws are those of `rounds`."""

    def __init__(self, day: Day, seed: int) -> None:
        self.seed, self.number = seed, day.sessions["number"].to_numpy()
        self.need, self.step, self.own, self.today = (
            day.steps[name].to_numpy() for name in ("need", "step", "own", "today")
        )
        typed = np.flatnonzero(day.steps["typed"].to_numpy())
        session = day.steps["session"].to_numpy()[typed].tolist()
        keys = zip(session, self.need[typed].tolist(), strict=True)
        self.row_of = dict(zip(keys, typed.tolist(), strict=True))

    def clicks(
        self,
        queries: Sequence[str],
        session: Ints,
        step: Ints,
        position: Ints,
        met: NDArray[np.bool_],
    ) -> tuple[NDArray[np.bool_], Ints]:
        """Which hints are clicked, and the step that each clicked one meets, -1 for none.

        All (n,), page by page and from the top: the query, the session that asked before which
        step, the position. met: steps that are met already, by row; a step that is met by a hint of
        these pages is met for those below.
        """
        number = self.number[session]
        looked = uniform(self.seed, Purpose.EXAMINE, number, step, position) < np.array(
            [examine(place) for place in position.tolist()]
        )
        clicked = looked & (uniform(self.seed, Purpose.NOISE, number, step, position) < NOISE)
        row, now, top = np.full(len(queries), -1), met.copy(), _tops(session, step)
        for i, options in self._options(queries, session, step).items():
            still = [option for option in options if not now[option.row]]
            if not still:
                continue
            above = {need for query in queries[top[i] : i] for need in interpret(query)}
            chances = [appeal(o.quality, o.ahead, o.need in above) for o in still]
            best = int(np.argmax(chances))
            clicked[i] = bool(looked[i] and still[best].draw < NOISE + chances[best])
            if clicked[i]:
                row[i] = still[best].row
                now[row[i]] = True
        return clicked, row

    def _options(
        self, queries: Sequence[str], session: Ints, step: Ints
    ) -> Mapping[int, list[Option]]:
        """hint -> the typed steps still to come that it names, in the order of the hints."""
        asked = zip(queries, session.tolist(), step.tolist(), strict=True)
        found = [
            (i, row)
            for i, (query, own, first) in enumerate(asked)
            for need in interpret(query)
            if (row := self.row_of.get((own, need), -1)) >= 0 and self.step[row] >= first
        ]
        hints, rows = np.array(found, np.int64).reshape(-1, 2).T
        keys = (self.number[session[hints]], step[hints], self.need[rows])
        draws = uniform(self.seed, Purpose.CLICK, *keys).tolist()
        options: dict[int, list[Option]] = defaultdict(list)
        for (i, own), draw in zip(found, draws, strict=True):
            need = int(self.need[own])
            quality = match(queries[i], need, self.own[own], self.today[own])
            ahead = int(self.step[own] - step[i])
            options[i].append(Option(own, need, quality, ahead, draw))
        return options


def _tops(session: Ints, step: Ints) -> list[int]:
    """Of each hint, the first hint of its page."""
    begins = np.ones(len(session), bool)
    begins[1:] = (session[1:] != session[:-1]) | (step[1:] != step[:-1])
    tops: list[int] = np.maximum.accumulate(np.where(begins, np.arange(len(session)), 0)).tolist()
    return tops
