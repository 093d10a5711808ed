"""Telling people that what serves lies below an anchor, and how to go back.

The daily loop mends itself: its next update starts from the release that is proposed here. Until
that one is released the champion goes on serving, and only a person may take it down.
"""

from datetime import timedelta
from shlex import join

from aigq_tasks.errors import AigqError
from aigq_tasks.messages import say
from aigq_tasks.pipeline.context import Context
from aigq_tasks.pipeline.lines import POLICY, VERDICT, start
from aigq_tasks.pipeline.reading import record
from aigq_tasks.services.alerts import Alert, send
from aigq_tasks.storage.ledger import Entry


def propose_rollback(ctx: Context, entry: Entry) -> None:
    """Send the `proposal` on a release that was just made, if there is one. An alert that fails is
    a line in the log: the release is out."""
    alert = proposal(ctx, entry)
    if alert is None:
        return
    try:
        send(alert, ctx.settings.alerts)
    except AigqError as error:
        say(str(error))


def proposal(ctx: Context, entry: Entry) -> Alert | None:
    """What people are told of a live release whose policy its own day found below an anchor, with
    the whole command that goes back; None for every other release."""
    other = start(ctx.moment(entry.day + timedelta(days=1)))
    if other is None or ctx.ledger.current() != entry:
        return None
    policy = other.models[POLICY]
    # The newest one that serves that policy has the newest lists by it; a shelved one cannot serve.
    same = [own for own in ctx.ledger.entries() if own.models.get(POLICY) == policy]
    said = record(ctx, ctx.manifests.get(entry.manifests[VERDICT]), "verdict.json")
    words: list[str] = said["anchors"]["words"]
    to = max(own.number for own in same)
    why = f"release {entry.number} lies below an anchor"
    return Alert(
        dag="hintq_daily",
        what="serves a policy that lies below an anchor",
        remedy=f"{join(['aigq', 'rollback', '--to', str(to), '--reason', why])}, or leave it to "
        f"the next update, which starts from release {other.number} ({other.day})",
        day=entry.day.isoformat(),
        error="; ".join(words),
    )
