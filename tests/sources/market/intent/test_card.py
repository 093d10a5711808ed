import numpy as np
import pandas as pd
import pytest

from aigq_tasks.sources.market.intent.arms import Mix
from aigq_tasks.sources.market.intent.card import card, headroom, uctr
from aigq_tasks.sources.market.intent.facts import facts_of, next_item
from aigq_tasks.sources.market.intent.past import Counts
from aigq_tasks.sources.market.intent.rules import INTENTS, KNOWN_NEEDS
from aigq_tasks.sources.market.intent.study import JUDGED, Figures

DAY = 17_000.0


def hints(clicked: list[bool]) -> pd.DataFrame:
    """Two days of each household, one hint each."""
    n = len(clicked) // 2
    return pd.DataFrame(
        {
            "household_id": np.repeat(np.arange(n), 2),
            "day": np.tile([DAY, DAY + 1], n),
            "position": 1,
            "clicked": clicked,
            "meets": clicked,
        }
    )


def test_headroom_by_hand() -> None:
    one = hints([True, False, False, False, False, False, True, False])
    two = hints([True, True, False, False, True, False, True, False])
    assert uctr(one) == 0.25
    # 4 of 8 household-days against 2 of 8.
    change, low, high = headroom(one, two, 17)
    assert change == pytest.approx(1.0)
    assert 0.0 <= low <= 1.0 < high
    assert headroom(one, one, 17) == (0.0, 0.0, 0.0)


def moves() -> pd.DataFrame:
    """Ann searches tea twice and milk once; bob looks at an item and searches jam."""
    return pd.DataFrame(
        {
            "user": ["ann", "ann", "ann", "bob", "bob"],
            "session": [0, 0, 1, 2, 2],
            "known": [0, 1, 0, 2, 3],
            "typed": [True, True, True, False, True],
            "bought": [True, False, True, False, False],
            "query": ["tea", "milk", "tea", "", "jam"],
            "time": [DAY + 0.1, DAY + 0.2, DAY + 1.1, DAY + 1.2, DAY + 1.3],
        }
    )


def test_facts_by_hand() -> None:
    judged = (pd.Timestamp(DAY + 1, unit="D").date(),) * 2
    found = facts_of([moves().iloc[:2], moves().iloc[2:]], Counts(), judged)
    # On the second day one of two searches is a repeat; of four in all, two texts are seen once;
    # one of two searches is bought, and one of three steps.
    assert found["repeated"] == 0.5
    assert found["once"] == 0.5
    assert found["searched_unbought"] == 0.5
    assert found["looked_unbought"] == pytest.approx(2 / 3)


def test_the_next_item_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aigq_tasks.sources.market.intent.facts.NEXT", 1)
    counts = Counts()
    counts.seen[[1, 5]] = [1, 9]
    counts.after[0, 1] = 40  # more than 30 · 0.9 for the commonest
    # 0 -> 1 is what followed before; 2 -> 3 is not; the commonest is 5.
    assert next_item(moves(), counts) == (0.5, 0.0)


def test_the_card_sets_intents_side_by_side() -> None:
    names = ("repeated", "once", "next", "next_popular", "searched_unbought", "looked_unbought")
    pages = {
        arm: hints([True, False, False, False])
        for arm in ("classic", "oracle", "last searches again")
    }
    own = Figures(dict.fromkeys(names, 0.25), {"oracle": 0.8}, pages, Mix(0.3, 0.15))
    text = card(dict.fromkeys(INTENTS, own), 600, 17)
    assert f"{JUDGED[0]} to {JUDGED[1]}, hints for 600 households" in text
    assert "| figure | published | weak | default | strong | one string |" in text
    assert "| oracle | 0.800 |" in text
    assert "| UCTR of oracle, against classic |  | +0.0% [+0.0%, +0.0%] |" in text
    assert "0.2500 (0.2500)" in text
    assert KNOWN_NEEDS == 1200
