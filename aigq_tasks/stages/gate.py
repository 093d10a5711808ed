"""Stage `gate`: may the challengers and the day's click model go live?"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import date
from typing import Any

import pandas as pd

from aigq_tasks.evaluation.alarms import Behaviour, alarms
from aigq_tasks.evaluation.arms import scores_of
from aigq_tasks.evaluation.config import GateLimits
from aigq_tasks.evaluation.gates import ListScores, Variety, Verdict, decide
from aigq_tasks.evaluation.offpolicy import compare
from aigq_tasks.evaluation.reweighting import slots_of
from aigq_tasks.pipeline.given import Given, Stored
from aigq_tasks.pipeline.lines import GO_BACK, Line
from aigq_tasks.pipeline.reads import Result
from aigq_tasks.pipeline.stage import Output, Slice, Stage
from aigq_tasks.stages.evaluate import FIXED, THINK_CHALLENGER
from aigq_tasks.stages.slow_loss import slow_loss

ALWAYS_NEW = ("recall", "u2q", "x2q", "item-texts")  # kinds that need no verdict


class GateSlice(Slice):
    """seed: of the bootstrap behind intervals. auc_floor, ece_ceiling: of a sane click model."""

    seed: int
    auc_floor: float
    ece_ceiling: float
    limits: GateLimits


def compute(given: Given, settings: GateSlice, day: date) -> Output:
    """Verdict with reasons. Rejected: the champion carries on."""
    from ctr_model.validate import sanity

    evaluation = given.result("evaluate")
    scores, limits = evaluation.table("scores"), settings.limits
    scores = scores[scores["query_hr_30"].notna()]  # who searched nothing says nothing of a list
    # The same training without this day, on this day: neither trees nor calibration knew of it.
    next_day = given.result("ctr").record("next_day.json")
    faults = sanity(next_day, settings.auc_floor, settings.ece_ceiling)
    hints = slots_of(evaluation.table("hints"))
    clicks = compare(hints, limits.min_effective, settings.seed, limits.resamples)
    lost = slow_loss(given, evaluation, limits)
    more = {
        "clicks": clicks,
        "anchors": lost.challenger,
        "variety": (_variety(evaluation, "challenger"), _variety(evaluation, FIXED)),
    }
    direct = _decide(scores, "challenger", "champion", faults, settings, **more)
    verdicts = {"": direct}  # prefix of its metrics and tags -> verdict
    if THINK_CHALLENGER in set(scores["arm"]):
        # What has nothing to reason from is left out: neither arm writes for it.
        known = scores[scores["user_id"].isin(_written_for(scores, "think"))]
        verdicts["think_"] = _decide(known, THINK_CHALLENGER, "think", faults, settings)
    offpolicy = asdict(clicks)
    written = _record(direct) | {"ctr_faults": list(faults), "offpolicy": offpolicy}
    written["anchors"] = lost.record()
    metrics: dict[str, float | str] = {
        f"offpolicy/{name}": float(value)
        for name, value in (offpolicy["estimate"] | {"production": clicks.production}).items()
        if value is not None
    }
    metrics |= {f"champion/{name}": value for name, value in lost.metrics().items()}
    tags = {GO_BACK: lost.go_back_to} if lost.go_back_to else {}
    for prefix, verdict in verdicts.items():
        metrics[f"{prefix}accepted"] = float(verdict.accepted)
        metrics |= {f"{prefix}{one.name}": one.value for one in verdict.checks}
        tags[f"{prefix}verdict"] = "accepted" if verdict.accepted else "rejected"
        tags[f"{prefix}reasons"] = "; ".join(verdict.reasons)
    if "think_" in verdicts:
        written["think"] = _record(verdicts["think_"])
    return Output(records={"verdict.json": written}, metrics=metrics, tags=tags)


def served_by(verdict: Mapping[str, Any]) -> dict[str, str]:
    """Kind of model -> the stage whose result of the day serves as it, for a verdict; all else
    stays what it was in the release that the day started from. A rejected challenger of either
    variant leaves the parent's policy in place, an insane click model the parent's."""
    made = {kind: kind for kind in ALWAYS_NEW}
    if verdict["accepted"]:
        made["direct"] = "policy"
    if verdict.get("think", {}).get("accepted"):
        made["think"] = "think-policy"
    if not verdict["ctr_faults"]:
        made["ctr"] = "ctr"
    return made


def _decide(
    scores: pd.DataFrame,
    challenger: str,
    champion: str,
    faults: Sequence[str],
    settings: GateSlice,
    **more: Any,
) -> Verdict:
    """more: of `gates.decide`, what is known of AIGQ-Direct alone."""
    new, old = (scores_of(scores, arm) for arm in (challenger, champion))
    raised = alarms(_behaviour(new), _behaviour(old), settings.limits.alarms)
    users = new["user_id"].tolist()
    lists = (_list_scores(new), _list_scores(old))
    return decide(*lists, faults, settings.limits, settings.seed, users, raised, **more)


def _written_for(scores: pd.DataFrame, arm: str) -> "pd.Series[str]":
    """Users for whom the arm wrote anything."""
    own = scores[scores["arm"] == arm]
    return own.loc[own["length"] > 0, "user_id"]


def _variety(evaluation: Stored, arm: str) -> Variety:
    scores, counts = evaluation.table("scores"), evaluation.table("variety")
    near = scores_of(scores, arm)["near_duplicates"]
    distinct = counts.loc[counts["arm"] == arm, "distinct_queries"]
    return Variety(int(distinct.sum()), float(near.mean()) if len(near) else 0.0)


def _record(verdict: Verdict) -> dict[str, Any]:
    written: dict[str, Any] = json.loads(verdict.to_json())
    return written


def _list_scores(rows: pd.DataFrame) -> ListScores:
    return ListScores(
        query_hit=rows["query_hr_30"].to_numpy("float64"),
        unique_categories=rows["unique_cates"].to_numpy("float64"),
        valid_list=rows["valid"].to_numpy("float64"),
    )


def _behaviour(rows: pd.DataFrame) -> Behaviour:
    columns = {"hit": "query_hr_30", "categories": "unique_cates"}
    names = ("proxy", "hit", "valid", "categories", "length", "copied", "off_catalogue")
    return Behaviour(*(rows[columns.get(name, name)].to_numpy("float64") for name in names))


GATE = Stage(
    name="gate",
    needs=("s3", "mlflow"),
    reads=(Result("evaluate"), Result("ctr"), Line(), Line(anew=True)),
    settings=lambda settings: GateSlice(
        seed=settings.seed,
        auc_floor=settings.ctr.auc_floor,
        ece_ceiling=settings.ctr.ece_ceiling,
        limits=settings.gate,
    ),
    compute=compute,
)
