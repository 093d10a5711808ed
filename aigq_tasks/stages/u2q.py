"""Stage `u2q`: refresh the user→query cache with the accepted policy (paper 4.1)."""

from datetime import date, timedelta
from typing import Any

from aigq_tasks.stages.context import Context
from aigq_tasks.stages.generation import generate, generation_config, shoppers_at
from aigq_tasks.stages.reading import (
    live_entry,
    log_window,
    model,
    need,
    read_behaviours,
    record,
    release_digest,
    table,
    window_digest,
)
from aigq_tasks.stages.runner import StageOutput
from aigq_tasks.storage.manifests import Manifest
from aigq_tasks.storage.tables import to_parquet


class U2qStage:
    """Lists for the users of the day, from all behaviours up to its end; others carry over."""

    name = "u2q"
    needs: tuple[str, ...] = ("s3", "mlflow")

    def inputs(self, ctx: Context, day: date) -> dict[str, str]:
        return {
            "gate": need(ctx, "gate", day).digest,
            "policy": serving_policy(ctx, day).digest,
            "release": release_digest(live_entry(ctx, day)),
            "logs": window_digest(log_window(ctx, day)),
        }

    def config(self, ctx: Context) -> dict[str, Any]:
        return generation_config(ctx)

    def compute(self, ctx: Context, day: date) -> StageOutput:
        parent = live_entry(ctx, day)
        old = model(ctx, parent, "u2q") if "u2q" in parent.models else None
        return build_u2q(ctx, day, serving_policy(ctx, day), old)


def serving_policy(ctx: Context, day: date) -> Manifest:
    """The challenger if the gate accepted it, else the policy of the parent release."""
    verdict = record(ctx, need(ctx, "gate", day), "verdict.json")
    if verdict["accepted"]:
        return need(ctx, "policy", day)
    return model(ctx, live_entry(ctx, day), "direct")


def build_u2q(ctx: Context, day: date, policy: Manifest, old: Manifest | None) -> StageOutput:
    """Generate for the day's users and merge over the entries of `old`."""
    from aigq_tasks.recall import u2q

    window = log_window(ctx, day)
    users = table(ctx, need(ctx, "market", day), "users")
    history = read_behaviours(ctx, window, day)
    shoppers = shoppers_at(ctx, users["user_id"], users, history, day + timedelta(days=1))
    generated = generate(ctx, policy, shoppers)
    fresh = u2q.build(generated.lists, day)
    entries = u2q.merge(table(ctx, old, "u2q"), fresh) if old else fresh
    metrics: dict[str, float | str] = {
        "refreshed_users": float(len(shoppers)),
        "users": float(entries["user_id"].nunique()),
        "blocked_queries": float(generated.blocked),
        "valid_lists": round(sum(generated.valid.values()) / max(1, len(shoppers)), 6),
    }
    return StageOutput(files={"u2q.parquet": to_parquet(entries)}, metrics=metrics)
