"""Stage `gate`: may the challengers and the day's click model go live?"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from typing import Any

import pandas as pd

from aigq_tasks.evaluation.alarms import AlarmLimits, Behaviour, alarms
from aigq_tasks.evaluation.gates import GateLimits, ListScores, Verdict, decide
from aigq_tasks.evaluation.offpolicy import Comparison, compare
from aigq_tasks.stages.context import Context
from aigq_tasks.stages.evaluate import THINK_CHALLENGER, evaluated, policy_scores
from aigq_tasks.stages.offpolicy import slots_of
from aigq_tasks.stages.reading import need, record, table
from aigq_tasks.stages.runner import StageOutput
from aigq_tasks.storage.canonical import to_json


class GateStage:
    """Verdict with reasons. Rejected: the champion carries on."""

    name = "gate"
    needs: tuple[str, ...] = ("s3", "mlflow")

    def inputs(self, ctx: Context, day: date) -> dict[str, str]:
        return {
            "evaluate": need(ctx, "evaluate", day).digest,
            "ctr": need(ctx, "ctr", day).digest,
        }

    def config(self, ctx: Context) -> dict[str, Any]:
        ctr = ctx.settings.ctr
        return {
            "seed": ctx.settings.seed,
            "auc_floor": ctr.auc_floor,
            "ece_ceiling": ctr.ece_ceiling,
            **ctx.settings.gate.model_dump(),
        }

    def compute(self, ctx: Context, day: date) -> StageOutput:
        from ctr_model.validate import sanity

        evaluation, scores = evaluated(ctx, day)
        # The day's own click model, on the newest days, which its trees did not see.
        newest = record(ctx, need(ctx, "ctr", day), "newest.json")
        ctr = ctx.settings.ctr
        faults = sanity(newest, ctr.auc_floor, ctr.ece_ceiling)
        limits = GateLimits(**ctx.settings.gate.model_dump(), seed=ctx.settings.seed)
        hints = slots_of(table(ctx, evaluation, "hints"))
        clicks = compare(hints, limits.min_effective, limits.seed, limits.resamples)
        direct = _decide(scores, "challenger", "champion", faults, limits, clicks)
        verdicts = {"": direct}  # prefix of its metrics and tags -> verdict
        if THINK_CHALLENGER in set(scores["arm"]):
            # What has nothing to reason from is left out: neither arm writes for it.
            known = scores[scores["user_id"].isin(_written_for(scores, "think"))]
            verdicts["think_"] = _decide(known, THINK_CHALLENGER, "think", faults, limits)
        offpolicy = asdict(clicks)
        written = _record(direct) | {"ctr_faults": list(faults), "offpolicy": offpolicy}
        metrics: dict[str, float | str] = {
            f"offpolicy/{name}": float(value)
            for name, value in (offpolicy["estimate"] | {"production": clicks.production}).items()
            if value is not None
        }
        tags = {}
        for prefix, verdict in verdicts.items():
            metrics[f"{prefix}accepted"] = float(verdict.accepted)
            metrics |= {f"{prefix}{one.name}": one.value for one in verdict.checks}
            tags[f"{prefix}verdict"] = "accepted" if verdict.accepted else "rejected"
            tags[f"{prefix}reasons"] = "; ".join(verdict.reasons)
        if "think_" in verdicts:
            written["think"] = _record(verdicts["think_"])
        return StageOutput(files={"verdict.json": to_json(written)}, metrics=metrics, tags=tags)


def _decide(
    scores: pd.DataFrame,
    challenger: str,
    champion: str,
    faults: Sequence[str],
    limits: GateLimits,
    clicks: Comparison | None = None,
) -> Verdict:
    new, old = (policy_scores(scores, arm) for arm in (challenger, champion))
    raised = alarms(_behaviour(new), _behaviour(old), AlarmLimits())
    users = new["user_id"].tolist()
    return decide(_list_scores(new), _list_scores(old), faults, limits, users, raised, clicks)


def _written_for(scores: pd.DataFrame, arm: str) -> "pd.Series[str]":
    """Users for whom the arm wrote anything."""
    own = scores[scores["arm"] == arm]
    return own.loc[own["length"] > 0, "user_id"]


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
