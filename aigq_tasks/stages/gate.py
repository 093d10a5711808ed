"""Stage `gate`: may the challenger and the day's click model go live?"""

from datetime import date
from typing import Any

import pandas as pd

from aigq_tasks.stages.context import Context
from aigq_tasks.stages.evaluate import evaluated, policy_scores
from aigq_tasks.stages.reading import need, record
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
        import json

        from aigq_tasks.evaluation.alarms import AlarmLimits, alarms
        from aigq_tasks.evaluation.gates import GateLimits, decide
        from ctr_model.validate import sanity

        _, scores = evaluated(ctx, day)
        # The day's own click model, on the newest days, which its trees did not see.
        newest = record(ctx, need(ctx, "ctr", day), "newest.json")
        ctr = ctx.settings.ctr
        faults = sanity(newest, ctr.auc_floor, ctr.ece_ceiling)
        challenger, champion = (policy_scores(scores, arm) for arm in ("challenger", "champion"))
        raised = alarms(_behaviour(challenger), _behaviour(champion), AlarmLimits())
        verdict = decide(
            _list_scores(challenger),
            _list_scores(champion),
            faults,
            GateLimits(**ctx.settings.gate.model_dump(), seed=ctx.settings.seed),
            challenger["user_id"].tolist(),
            raised,
        )
        written = json.loads(verdict.to_json()) | {"ctr_faults": list(faults)}
        return StageOutput(
            files={"verdict.json": to_json(written)},
            metrics={"accepted": float(verdict.accepted), "alarms": float(len(raised))},
            tags={
                "verdict": "accepted" if verdict.accepted else "rejected",
                "reasons": "; ".join(verdict.reasons),
            },
        )


def _list_scores(rows: pd.DataFrame) -> Any:
    from aigq_tasks.evaluation.gates import ListScores

    return ListScores(
        query_hit=rows["query_hr_30"].to_numpy("float64"),
        unique_categories=rows["unique_cates"].to_numpy("float64"),
        valid_list=rows["valid"].to_numpy("float64"),
    )


def _behaviour(rows: pd.DataFrame) -> Any:
    from aigq_tasks.evaluation.alarms import Behaviour

    columns = {"hit": "query_hr_30", "categories": "unique_cates"}
    names = ("proxy", "hit", "valid", "categories", "length", "copied", "off_catalogue")
    return Behaviour(*(rows[columns.get(name, name)].to_numpy("float64") for name in names))
