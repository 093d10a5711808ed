"""Stage `publish`: the one step that makes a day visible (DESIGN 6)."""

import getpass
import os
from datetime import date

from aigq_tasks.errors import AigqError
from aigq_tasks.stages.context import Context
from aigq_tasks.stages.policy import think_is_due
from aigq_tasks.stages.reading import live_entry, need, record
from aigq_tasks.stages.release import publish_release
from aigq_tasks.stages.runner import preflight
from aigq_tasks.storage.ledger import Entry

DAILY_STAGES = (
    "market",
    "ctr",
    "recall",
    "samples",
    "policy",
    "rivals",
    "evaluate",
    "gate",
    "u2q",
    "x2q",
    "item-texts",
)
THINK_STAGES = ("think-samples", "think-policy")  # of the days that renew AIGQ-Think


def publish(ctx: Context, day: date) -> Entry:
    """Load the day's u2q and x2q and append the day's release to the ledger.

    A rejected challenger of either variant leaves the parent's policy in place; an insane click
    model leaves the parent's click model. Run again: nothing happens.
    """
    preflight(("s3", "valkey"), ctx)
    stages = DAILY_STAGES + (THINK_STAGES if think_is_due(ctx, day) else ())
    manifests = {stage: need(ctx, stage, day) for stage in stages}
    verdict = record(ctx, manifests["gate"], "verdict.json")
    parent = live_entry(ctx, day)
    models = dict(parent.models)
    models |= {stage: manifests[stage].digest for stage in ("recall", "u2q", "x2q", "item-texts")}
    if verdict["accepted"]:
        models["direct"] = manifests["policy"].digest
    if verdict.get("think", {}).get("accepted"):
        models["think"] = manifests["think-policy"].digest
    if not verdict["ctr_faults"]:
        models["ctr"] = manifests["ctr"].digest
    entry = Entry(
        day=day,
        revision=manifests["u2q"].revision,
        parent=parent.number,
        manifests={stage: manifest.digest for stage, manifest in sorted(manifests.items())},
        models=models,
        verdict="accepted" if verdict["accepted"] else "rejected",
        code=ctx.code_digest(),
        config=ctx.config_digest(),
        who=publisher(),
        why=reason(),
    )
    return publish_release(ctx, entry)


def publisher() -> str:
    """Who publishes: what the scheduler says (`AIGQ_WHO`), else the system user."""
    named = os.environ.get("AIGQ_WHO")
    if named:
        return named
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        raise AigqError("no user name for the ledger: set the variable AIGQ_WHO") from None


def reason() -> str:
    """Why: `AIGQ_WHY`, which the trigger form of the Dag fills in."""
    return os.environ.get("AIGQ_WHY") or "by hand"
