"""What a verdict lets serve."""

from typing import Any

from aigq_tasks.stages.gate import served_by

ALWAYS = {kind: kind for kind in ("recall", "u2q", "x2q", "item-texts")}


def verdict(direct: bool, faults: tuple[str, ...] = (), **think: bool) -> dict[str, Any]:
    return {"accepted": direct, "ctr_faults": list(faults)} | ({"think": think} if think else {})


def test_what_was_accepted_serves_and_all_else_stays_the_parents() -> None:
    assert served_by(verdict(True)) == ALWAYS | {"direct": "policy", "ctr": "ctr"}
    assert served_by(verdict(False)) == ALWAYS | {"ctr": "ctr"}
    assert served_by(verdict(False, ("auc",))) == ALWAYS
    assert served_by(verdict(False, ("auc",), accepted=True)) == ALWAYS | {"think": "think-policy"}
    assert served_by(verdict(True, ("auc",), accepted=False)) == ALWAYS | {"direct": "policy"}
