from dataclasses import replace

import numpy as np
import pytest

from aigq_tasks.evaluation.alarms import Behaviour, alarms
from aigq_tasks.evaluation.config import AlarmLimits

HONEST = Behaviour(
    proxy=np.array([0.1, 0.2]),
    hit=np.array([1.0, 0.0]),
    valid=np.array([1.0, 1.0]),
    categories=np.array([10.0, 20.0]),
    length=np.array([30.0, 30.0]),
    copied=np.array([0.2, 0.4]),
    off_catalogue=np.array([0.0, 0.1]),
)
PLEASING = HONEST.proxy + 0.1
LIMITS = AlarmLimits()


def test_a_better_policy_raises_no_alarm() -> None:
    assert alarms(replace(HONEST, proxy=PLEASING), HONEST, LIMITS) == []


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"off_catalogue": HONEST.off_catalogue + 0.3}, "off-catalogue queries: +0.30"),
        ({"copied": HONEST.copied + 0.5}, "the history is copied: +0.50"),
        ({"length": np.array([1.0, 1.0])}, "lists collapsed to 1.0 queries from 30.0"),
        ({"proxy": PLEASING, "hit": HONEST.hit - 0.05}, "+0.1000 while Query HR@30 -0.0500"),
        ({"proxy": PLEASING, "valid": HONEST.valid - 0.1}, "while valid lists -0.1000"),
        # 12 is below 0.85 of the champion's 15.
        ({"proxy": PLEASING, "categories": np.array([9.0, 15.0])}, "fell from 15.00 to 12.00"),
    ],
)
def test_each_kind_of_hacking_has_an_alarm(changed: dict[str, np.ndarray], words: str) -> None:
    [alarm] = alarms(replace(HONEST, **changed), HONEST, LIMITS)
    assert words in alarm


def test_a_fall_without_a_rise_of_the_proxy_is_the_gates_affair() -> None:
    worse = replace(HONEST, hit=HONEST.hit - 0.5, categories=HONEST.categories / 2)
    assert alarms(worse, HONEST, LIMITS) == []
