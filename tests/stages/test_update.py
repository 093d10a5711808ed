from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest

from aigq_tasks.policy.config import PolicySample
from aigq_tasks.stages.update import first_known, policy_samples

ROWS = pd.DataFrame({"user_id": ["h1"], "prompt": ["<hints>"], "labels": [["milk", "tea"]]})


def test_samples_carry_their_target_where_they_have_one() -> None:
    assert policy_samples(ROWS) == [PolicySample("h1", "<hints>", ["milk", "tea"])]
    # AIGQ-Think learns its reasoned target, not the list of its labels.
    assert policy_samples(ROWS.assign(target="<why>milk often")) == [
        PolicySample("h1", "<hints>", ["milk", "tea"], "<why>milk often")
    ]


def test_the_truth_is_that_of_the_first_day_that_knows_the_user() -> None:
    def truth(**known: float) -> object:
        def needs(users: Sequence[str], queries: Sequence[str]) -> list[dict[str, float]]:
            return [{"milk": known.get(user, np.nan), "tea": 0.5} for user in users]

        return needs

    combined = first_known([truth(ann=0.1), truth(ann=0.2, bob=0.3), truth(eve=0.4)])  # type: ignore[list-item]
    assert combined is not None
    users = ["ann", "bob", "eve", "nobody"]
    # To meet either: 1 - 0.5 · (1 - chance of milk).
    assert combined(users, ["milk"] * 4).tolist() == pytest.approx([0.55, 0.65, 0.7, 0.0])
    assert first_known([]) is None
