import pandas as pd

from aigq_tasks.policy.training import PolicySample
from aigq_tasks.stages.policy import policy_samples

ROWS = pd.DataFrame({"user_id": ["h1"], "prompt": ["<hints>"], "labels": [["milk", "tea"]]})


def test_samples_carry_their_target_where_they_have_one() -> None:
    assert policy_samples(ROWS) == [PolicySample("h1", "<hints>", ["milk", "tea"])]
    # AIGQ-Think learns its reasoned target, not the list of its labels.
    assert policy_samples(ROWS.assign(target="<why>milk often")) == [
        PolicySample("h1", "<hints>", ["milk", "tea"], "<why>milk often")
    ]
