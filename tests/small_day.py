"""A day of sessions made by hand, for tests of what is shown and clicked."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from aigq_tasks.sources.market.intent.lexicon import load_phrasings
from aigq_tasks.sources.market.intent.reading import interpret
from aigq_tasks.sources.market.intent.sessions import Day

NOON = np.datetime64("2017-11-06T12:00:00", "us")
APPLES, FUJI, EGGS = (interpret(text)[0] for text in ("braeburn apples", "fuji apples", "eggs"))


def made(
    needs: Sequence[int],
    asks: Sequence[int],
    sessions: int = 1,
    looking: bool = False,
    own: Mapping[int, str] = {},
    start: np.datetime64 = NOON,
) -> Day:
    """So many households with a session each, a minute from step to step, all steps typed.

    needs: in the order of the steps; asks: the steps before which a request comes (0: the start);
    own: a need's words, else its head phrase.
    """
    count = len(needs)
    words = [own.get(need, load_phrasings()[need][0]) for need in needs]
    number = 4 * np.arange(1, sessions + 1) + int(looking)
    household = np.arange(1, sessions + 1)
    user = np.array([f"h{h}" for h in household], object)
    minute = np.timedelta64(60, "s")
    frame = pd.DataFrame(
        {
            "number": number,
            "household_id": household,
            "user_id": user,
            "looking": looking,
            "start": start,
            "end": start + count * minute,
        }
    )
    steps = pd.DataFrame(
        {
            "session": np.repeat(np.arange(sessions), count),
            "step": np.tile(np.arange(count), sessions),
            "need": np.tile(needs, sessions),
            "typed": True,
            "bought": not looking,
            "product_id": np.tile(products_of(needs), sessions),
            "value": 0.0 if looking else 2.5,
            "own": np.tile(np.array(words, object), sessions),
            "today": np.tile(np.array(words, object), sessions),
            "time": np.tile(start + minute * np.arange(1, count + 1), sessions),
        }
    )
    rows: list[dict[str, Any]] = [
        {
            "request_id": f"r{number[s]}-{k}",
            "session": s,
            "step": k,
            "household_id": int(household[s]),
            "user_id": user[s],
            "time": start if k == 0 else start + minute * (k + 1) - np.timedelta64(10, "s"),
            "turn": turn,
        }
        for s in range(sessions)
        for turn, k in enumerate(asks)
    ]
    requests = pd.DataFrame(rows).sort_values(["time", "request_id"], ignore_index=True)
    return Day(frame, steps, requests)


def products_of(needs: Sequence[int]) -> list[int]:
    from aigq_tasks.sources.market.intent.items import usual_products

    return [usual_products().pick(need, 0.0).product for need in needs]
