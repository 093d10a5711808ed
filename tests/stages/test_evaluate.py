"""The day's evaluation on a small real release."""

import pandas as pd
import pytest
from small_release import DAY

from aigq_tasks.evaluation.arms import Case
from aigq_tasks.evaluation.truth import Truths
from aigq_tasks.pipeline.context import Context
from aigq_tasks.pipeline.runner import given_for
from aigq_tasks.stages.evaluate import EVALUATE, reweighted_hints
from aigq_tasks.storage.ledger import Entry


@pytest.mark.integration
def test_the_hints_of_held_out_users_who_searched(small: tuple[Context, Entry]) -> None:
    """Ann and Bob are held out; a stranger is too, but neither searched nor saw a hint."""
    ctx, _ = small
    given = given_for(ctx, DAY, EVALUATE.reads)
    truth = {user: {"milk"} for user in ("ann", "bob")}
    nothing = pd.DataFrame(columns=["user_id", "query", "weight"])
    case = Case(DAY, Truths(truth, truth, nothing), [], pd.DataFrame())
    lists = {"ann": ["Oat Milk", "butter"], "bob": ["milk"]}
    rows = reweighted_hints(given, EVALUATE.settings(ctx.settings), case, lists)
    assert sorted(rows["user_id"].unique()) == ["ann", "bob"]
    # Each was shown milk first and clicked it; popularity has it, so the other ranking shows it.
    first = rows.groupby("user_id").head(1)
    assert first["clicks"].tolist() == [1.0, 1.0]
    assert first["logged"].tolist() == pytest.approx([1 / 3, 1 / 3])  # one of three alike
    assert ((first["other"] > 0) & (first["other"] < 1)).all()
    assert ((rows["expected"] > 0) & (rows["expected"] < 1)).all()
    # The lists are the other ranking's u2q: more of them leave less room for milk.
    ann, bob = first.set_index("user_id")["other"]
    assert ann < bob
