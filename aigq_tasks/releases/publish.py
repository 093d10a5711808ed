"""`aigq publish`: the one step that makes a day visible."""

from dataclasses import replace
from datetime import date

from aigq_tasks.errors import AigqError
from aigq_tasks.messages import about
from aigq_tasks.pipeline.context import Context
from aigq_tasks.pipeline.lines import start
from aigq_tasks.pipeline.preflight import preflight
from aigq_tasks.pipeline.reading import live_entry, need, record
from aigq_tasks.pipeline.runner import stale
from aigq_tasks.releases.live import publish_release
from aigq_tasks.stages.day import steps_of
from aigq_tasks.stages.gate import served_by
from aigq_tasks.storage.ledger import Entry

SERVABLE = "servable"  # the stage whose verdict `candidate` is put before


def publish(ctx: Context, day: date, who: str, why: str) -> Entry:
    """Load the day's u2q and x2q and append the day's release to the ledger. Run again: nothing
    happens. AigqError if the day's release is not servable, or if another release went live while
    the day ran: what is live stays live."""
    about("publish", day)
    preflight(("s3", "valkey"), ctx)
    verdict = record(ctx, need(ctx, SERVABLE, day), "servable.json")
    if not verdict["servable"]:
        raise AigqError(
            f"the release of {day} cannot be served ({'; '.join(verdict['reasons'])}): mend it and "
            "run the day again; what is live stays live"
        )
    entry = tried(ctx, day, who, why)
    about("publish", day, live_entry(ctx, day).number)
    head = ctx.ledger.current()
    if not any(own.same_release(entry) for own in ctx.ledger.entries()):
        require_up_to_date(ctx, day)
    return publish_release(ctx, entry, after=head.number if head else None)


def require_up_to_date(ctx: Context, day: date) -> None:
    """AigqError when a result of the day was made of something else than there is now: another
    release went live while the day ran, or a log was landed again. Such a day is no function of
    its inputs: half of it would follow the old ones, half the new ones."""
    moment = ctx.moment(day)
    for step in steps_of(ctx.settings, day):
        why = stale(step.stage, moment, ctx.manifests.head(step.name, day))
        if why:
            raise AigqError(
                f"{step.name} of {day} is out of date ({why}): run the day again from there, in "
                f"Airflow by clearing {step.name} and what follows it; what is live stays live"
            )


def tried(ctx: Context, day: date, who: str, why: str) -> Entry:
    """The `candidate` of the day with the servable verdict on it: what `publish` releases."""
    entry, verdict = candidate(ctx, day, who, why), need(ctx, SERVABLE, day)
    manifests = dict(sorted({**entry.manifests, SERVABLE: verdict.digest}.items()))
    return replace(entry, manifests=manifests)


def candidate(ctx: Context, day: date, who: str, why: str) -> Entry:
    """The release that the day's results make, without a number.

    A rejected challenger of either variant leaves the parent's policy in place; an insane click
    model leaves the parent's click model. An accepted one that was trained from another policy than
    the one that served has that one's release as parent, and the entry says why.
    """
    names = [step.name for step in steps_of(ctx.settings, day) if step.name != SERVABLE]
    manifests = {name: need(ctx, name, day) for name in names}
    verdict = record(ctx, manifests["gate"], "verdict.json")
    parent = live_entry(ctx, day)
    made = {kind: manifests[name].digest for kind, name in served_by(verdict).items()}
    other = start(ctx.moment(day))
    if other is not None:
        why += f"; release {parent.number} lay below an anchor: the update started from release "
        why += f"{other.number} ({other.day})"
    return Entry(
        day=day,
        revision=manifests["u2q"].revision,
        parent=(other if other and verdict["accepted"] else parent).number,
        manifests={name: manifest.digest for name, manifest in manifests.items()},
        models=parent.models | made,
        verdict="accepted" if verdict["accepted"] else "rejected",
        code=ctx.code_digest(),
        config=ctx.config_digest(),
        who=who,
        why=why,
    )
