"""Making a release the one that is served: its u2q and x2q in Valkey, its entry in the ledger."""

from aigq_tasks.messages import say
from aigq_tasks.pipeline.context import Context
from aigq_tasks.pipeline.reading import table
from aigq_tasks.releases.aliases import follow_ledger
from aigq_tasks.serving.indexes import LOADERS, connect, retire_others, version_of
from aigq_tasks.storage.crash import crash_point
from aigq_tasks.storage.ledger import Entry, LedgerConflict


def publish_release(ctx: Context, entry: Entry, after: int | None = None) -> Entry:
    """Make the release live (see `go_live`), unless it is known or of an old day.

    An entry that is in the ledger already is returned as it is; u2q and x2q of the
    current one are loaded again if Valkey has lost them. A release of a day before the current
    one is shelved: the run of the next day starts from it, and nothing is served from it.
    MLflow's aliases follow the ledger, where MLflow answers. LedgerConflict: see `go_live`.
    """
    known = next((own for own in ctx.ledger.entries() if own.same_release(entry)), None)
    if known:
        if known == ctx.ledger.current():
            settle(ctx)
            follow_ledger(ctx)
        _tell(known, f"up to date (release {known.number})")
        return known
    head = ctx.ledger.current()
    if head is not None and head.day > entry.day:
        return _shelve(ctx, entry)
    try:
        appended = go_live(ctx, entry, after)
    except LedgerConflict:
        head = ctx.ledger.current()
        if head is None or head.day <= entry.day:
            raise
        return _shelve(ctx, entry)  # a later day was released meanwhile
    _tell(appended, f"release {appended.number} is live ({appended.verdict})")
    follow_ledger(ctx)
    return appended


def go_live(ctx: Context, entry: Entry, after: int | None = None) -> Entry:
    """Load the release's u2q and x2q into Valkey, append it to the ledger, let older lists expire.

    The append is the one atomic step: before it no reader looks at the new versions, after it
    all do. Killed later, it is live, and the next release lets the lists expire. LedgerConflict
    when a later day was released, or one after the release of number `after` (see `append`).
    """
    load_indexes(ctx, entry)
    crash_point("indexes")
    appended = ctx.ledger.append(entry, after)
    settle(ctx)
    return appended


def _shelve(ctx: Context, entry: Entry) -> Entry:
    kept = ctx.ledger.shelve(entry)
    _tell(kept, "stored, a later day is live; the run of the next day starts from it")
    return kept


def _tell(entry: Entry, what: str) -> None:
    """Say what became of the day's release; Airflow's asset event gets the facts beside it."""
    facts = {"number": entry.number, "verdict": entry.verdict, "manifests": entry.manifests}
    say(f"publish {entry.day}: {what}", **facts)


def load_indexes(ctx: Context, entry: Entry) -> None:
    """Bring Valkey to hold the release's u2q and x2q; nothing happens when it does."""
    with connect(ctx.settings.valkey.url) as client:
        for kind, load in LOADERS.items():
            if kind in entry.models:
                digest = entry.models[kind]
                load(client, version_of(digest), table(ctx, ctx.manifests.get(digest), kind))


def settle(ctx: Context) -> None:
    """Keep u2q and x2q of the current release in Valkey and let all others expire.

    Who appends at the same moment settles too. Whoever reads the ledger last has the last word:
    what was let expire and turns out to be live is loaded again.
    """
    days, current = ctx.settings.valkey.ttl_days, ctx.ledger.current()
    while current is not None:
        load_indexes(ctx, current)
        with connect(ctx.settings.valkey.url) as client:
            for kind in LOADERS.keys() & current.models.keys():
                retire_others(client, kind, version_of(current.models[kind]), days)
        settled, current = current, ctx.ledger.current()
        if current == settled:
            return
