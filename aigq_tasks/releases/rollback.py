"""Going back in the ledger: what an earlier release served is served again."""

from dataclasses import replace

from aigq_tasks.errors import AigqError
from aigq_tasks.messages import say
from aigq_tasks.pipeline.context import Context
from aigq_tasks.pipeline.preflight import preflight
from aigq_tasks.releases.aliases import follow_ledger
from aigq_tasks.releases.live import go_live, settle
from aigq_tasks.storage.ledger import Entry


def rollback(ctx: Context, number: int, who: str, why: str) -> Entry:
    """Serve again what release `number` served; the next daily run goes on from it.

    Nothing is rebuilt: its lists and its index are loaded into Valkey if they are gone, and one
    entry is appended, of the current release's day. AigqError for an unknown release or one
    without a policy; LedgerConflict if a later day was released meanwhile.
    """
    preflight(("s3", "valkey"), ctx)
    target, current = ctx.ledger.entry(number), ctx.ledger.current()
    if "direct" not in target.models:
        raise AigqError(f"release {number} ({target.day}) has no policy to go back to")
    if current is None or current.models == target.models:
        settle(ctx)
        say(f"release {number} is what is served already")
        return current or target
    entry = replace(
        target,
        day=current.day,
        revision=current.revision,
        parent=number,
        verdict="rollback",
        code=ctx.code_digest(),
        config=ctx.config_digest(),
        who=who,
        why=why,
    )
    appended = go_live(ctx, entry)
    say(f"release {appended.number} is live: what release {number} ({target.day}) served")
    follow_ledger(ctx)
    return appended
