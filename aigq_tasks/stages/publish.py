"""Stage `publish`: the one step that makes a day visible (DESIGN 6)."""

import getpass
import os
from dataclasses import replace
from datetime import date

from aigq_tasks.errors import AigqError
from aigq_tasks.messages import about
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
    """Load the day's u2q and x2q and append the day's release to the ledger. Run again: nothing
    happens. AigqError if the day's release is not servable, or if another release went live while
    the day ran: what is live stays live."""
    from aigq_tasks.stages.plan import require_up_to_date  # it knows all stages, and they this

    about("publish", day)
    preflight(("s3", "valkey"), ctx)
    verdict = record(ctx, need(ctx, "servable", day), "servable.json")
    if not verdict["servable"]:
        raise AigqError(
            f"the release of {day} cannot be served ({'; '.join(verdict['reasons'])}): mend it and "
            "run the day again; what is live stays live"
        )
    entry = tried(ctx, day)
    about("publish", day, entry.parent)
    head = ctx.ledger.current()
    if not any(own.same_release(entry) for own in ctx.ledger.entries()):
        require_up_to_date(ctx, day)
    return publish_release(ctx, entry, after=head.number if head else None)


def tried(ctx: Context, day: date) -> Entry:
    """The `candidate` of the day with the servable verdict on it: what `publish` releases."""
    entry, servable = candidate(ctx, day), need(ctx, "servable", day)
    manifests = dict(sorted({**entry.manifests, "servable": servable.digest}.items()))
    return replace(entry, manifests=manifests)


def candidate(ctx: Context, day: date) -> Entry:
    """The release that the day's results make, without a number.

    A rejected challenger of either variant leaves the parent's policy in place; an insane click
    model leaves the parent's click model.
    """
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
    return Entry(
        day=day,
        revision=manifests["u2q"].revision,
        parent=parent.number,
        manifests={stage: manifest.digest for stage, manifest in manifests.items()},
        models=models,
        verdict="accepted" if verdict["accepted"] else "rejected",
        code=ctx.code_digest(),
        config=ctx.config_digest(),
        who=publisher(),
        why=reason(),
    )


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
