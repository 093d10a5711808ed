"""Stages `rivals` and `evaluate`: how good are the day's challengers?

The rivals (champion, IL-SFT, AIGQ-Think as it serves, the classic sources) do not wait for the
challengers' training, so they are scored beside it.
"""

from dataclasses import asdict
from datetime import date
from typing import Any

import numpy as np
import pandas as pd

from aigq_tasks.stages.arms import classic_lists, held_out_case, score_policies, written_lists
from aigq_tasks.stages.context import Context
from aigq_tasks.stages.generation import generation_config
from aigq_tasks.stages.offpolicy import market_exposure, reweighted_hints
from aigq_tasks.stages.policy import think_is_due
from aigq_tasks.stages.reading import (
    live_entry,
    log_window,
    model,
    need,
    release_digest,
    table,
    window_digest,
)
from aigq_tasks.stages.runner import StageOutput
from aigq_tasks.storage.canonical import to_json
from aigq_tasks.storage.manifests import Manifest
from aigq_tasks.storage.tables import to_parquet

THINK_CHALLENGER = "think challenger"  # the arm; the one that serves is "think"


class RivalsStage:
    """Per-user scores of all that the day's challengers are compared with."""

    name = "rivals"
    needs: tuple[str, ...] = ("s3",)

    def inputs(self, ctx: Context, day: date) -> dict[str, str]:
        return {
            "ctr": need(ctx, "ctr", day).digest,
            "release": release_digest(live_entry(ctx, day)),
            "logs": window_digest(log_window(ctx, day)),
        }

    def config(self, ctx: Context) -> dict[str, Any]:
        return judging_config(ctx)

    def compute(self, ctx: Context, day: date) -> StageOutput:
        case = held_out_case(ctx, day)
        entry = live_entry(ctx, day)
        direct = {"champion": model(ctx, entry, "direct"), "sft": model(ctx, entry, "sft")}
        think = {"think": model(ctx, entry, "think")}
        lists, valid = written_lists(ctx, case, direct, think)
        classic = classic_lists(ctx, day, case)
        scores = score_policies(ctx, day, case, lists, valid, classic)
        return StageOutput(files={"scores.parquet": to_parquet(scores)}, metrics={})


class EvaluateStage:
    """Per-user scores and their means, for every arm and segment; and the day's hints, with what
    the challenger's lists would have shown in their place (`stages.offpolicy`)."""

    name = "evaluate"
    needs: tuple[str, ...] = ("s3", "mlflow")

    def inputs(self, ctx: Context, day: date) -> dict[str, str]:
        policies = ("policy", "think-policy") if think_is_due(ctx, day) else ("policy",)
        return {stage: need(ctx, stage, day).digest for stage in (*policies, "ctr", "rivals")} | {
            "release": release_digest(live_entry(ctx, day)),
            "logs": window_digest(log_window(ctx, day)),
        }

    def config(self, ctx: Context) -> dict[str, Any]:
        return judging_config(ctx) | {"exposure": asdict(market_exposure(ctx))}

    def compute(self, ctx: Context, day: date) -> StageOutput:
        think = {}
        if think_is_due(ctx, day):
            think[THINK_CHALLENGER] = need(ctx, "think-policy", day)
        direct = {"challenger": need(ctx, "policy", day)}
        case = held_out_case(ctx, day)
        lists, valid = written_lists(ctx, case, direct, think)
        hints = reweighted_hints(ctx, day, case.truth, lists["challenger"])
        scores = pd.concat(
            [
                score_policies(ctx, day, case, lists, valid, {}),
                table(ctx, need(ctx, "rivals", day), "scores"),
            ]
        ).sort_values(["arm", "user_id"], ignore_index=True)
        results = summarize(scores, ctx.settings.seed)
        return StageOutput(
            files={
                "scores.parquet": to_parquet(scores),
                "results.json": to_json(results),
                "hints.parquet": to_parquet(hints),
            },
            metrics=_headline(results),
            charts={"query_hr_30.png": _bars(results, day)},
        )


def judging_config(ctx: Context) -> dict[str, Any]:
    """The settings that change what an arm writes, or for whom."""
    return generation_config(ctx) | {
        "holdout": ctx.settings.samples.holdout,
        "split_seed": ctx.settings.seed,
        "per_source": ctx.settings.recall.per_source,
        "limits": ctx.settings.think.limits.model_dump(),
    }


def summarize(scores: pd.DataFrame, seed: int) -> dict[str, dict[str, dict[str, float]]]:
    """arm -> metric -> mean, low, high (95% bootstrap over users), n."""
    from aigq_tasks.evaluation.intervals import bootstrap_mean_ci

    results: dict[str, dict[str, dict[str, float]]] = {}
    for arm, rows in scores.groupby("arm", sort=True):
        results[str(arm)] = {}
        for metric in rows.columns.drop(["arm", "user_id"]):
            known = rows[rows[metric].notna()]
            if len(known) == 0:
                continue
            values = known[metric].to_numpy(np.float64)
            interval = bootstrap_mean_ci(values, known["user_id"].tolist(), seed=seed)
            results[str(arm)][metric] = {
                "mean": round(interval.mean, 6),
                "low": round(interval.low, 6),
                "high": round(interval.high, 6),
                "n": float(len(known)),
            }
    return results


def _headline(results: dict[str, dict[str, dict[str, float]]]) -> dict[str, float | str]:
    return {
        f"{arm}/{metric}": value["mean"]
        for arm, metrics in sorted(results.items())
        for metric, value in sorted(metrics.items())
    }


def _bars(results: dict[str, dict[str, dict[str, float]]], day: date) -> bytes:
    from aigq_tasks.evaluation.charts import hit_rate_bars
    from aigq_tasks.evaluation.intervals import Interval

    bars = {}
    for arm, metrics in results.items():
        value = metrics["query_hr_30"]
        bars[arm] = Interval(value["mean"], value["low"], value["high"], int(value["n"]))
    return hit_rate_bars(bars, title=f"Held-out users on {day}", ylabel="Query HR@30")


def policy_scores(scores: pd.DataFrame, arm: str) -> pd.DataFrame:
    """The rows of one arm in user order."""
    return scores[scores["arm"] == arm].sort_values("user_id", ignore_index=True)


def evaluated(ctx: Context, day: date) -> tuple[Manifest, pd.DataFrame]:
    """The day's evaluation and its per-user scores."""
    manifest = need(ctx, "evaluate", day)
    return manifest, table(ctx, manifest, "scores")
