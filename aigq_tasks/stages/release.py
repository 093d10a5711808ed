"""Making a release visible, and reading the one that is."""

from aigq_tasks.messages import say
from aigq_tasks.recall import u2q, versions, x2q_source
from aigq_tasks.stages.aliases import follow_ledger
from aigq_tasks.stages.context import Context
from aigq_tasks.stages.reading import table
from aigq_tasks.storage.crash import crash_point
from aigq_tasks.storage.ledger import Entry, LedgerConflict


def publish_release(ctx: Context, entry: Entry) -> Entry:
    """Load the release's u2q and x2q into Valkey, then append the ledger entry.

    The append is the one atomic step: before it no reader looks at the new versions, after
    it all do. An entry that is in the ledger already is returned as it is; u2q and x2q of the
    current one are loaded again if Valkey has lost them. A release of a day before the current
    one is shelved: the run of the next day starts from it, and nothing is served from it.
    MLflow's aliases follow the ledger, where MLflow answers.
    """
    known = next((own for own in ctx.ledger.entries() if own.same_release(entry)), None)
    if known:
        if known == ctx.ledger.current():  # loading another would let the live one expire
            load_indexes(ctx, known)
            follow_ledger(ctx)
        _tell(known, f"up to date (release {known.number})")
        return known
    head = ctx.ledger.current()
    if head is not None and head.day > entry.day:
        return _shelve(ctx, entry)
    load_indexes(ctx, entry)
    crash_point("indexes")
    try:
        appended = ctx.ledger.append(entry)
    except LedgerConflict:  # a later day was released meanwhile
        return _shelve(ctx, entry)
    _tell(appended, f"release {appended.number} is live ({appended.verdict})")
    follow_ledger(ctx)
    return appended


def _shelve(ctx: Context, entry: Entry) -> Entry:
    kept = ctx.ledger.shelve(entry)
    _tell(kept, "stored, a later day is live; the run of the next day starts from it")
    return kept


def _tell(entry: Entry, what: str) -> None:
    """Say what became of the day's release; Airflow's asset event gets the facts beside it."""
    facts = {"number": entry.number, "verdict": entry.verdict, "manifests": entry.manifests}
    say(f"publish {entry.day}: {what}", **facts)


def index_version(entry: Entry, kind: str) -> str:
    """The version under which Valkey holds a release's "u2q" or "x2q"."""
    return entry.models[kind][:16]


def load_indexes(ctx: Context, entry: Entry) -> None:
    """Bring Valkey to hold the release's u2q and x2q; nothing happens when it does."""
    days = ctx.settings.valkey.ttl_days
    with versions.connect(ctx.settings.valkey.url) as client:
        for kind, load in (("u2q", u2q.load), ("x2q", x2q_source.load)):
            if kind in entry.models:
                entries = table(ctx, ctx.manifests.get(entry.models[kind]), kind)
                load(client, index_version(entry, kind), entries, days)
