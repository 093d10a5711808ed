"""Making a release visible, and reading the one that is."""

from aigq_tasks.recall import u2q, versions, x2q_source
from aigq_tasks.stages.context import Context
from aigq_tasks.stages.reading import table
from aigq_tasks.storage.ledger import Entry


def publish_release(ctx: Context, entry: Entry) -> Entry:
    """Load the release's u2q and x2q into Valkey, then append the ledger entry.

    The append is the one atomic step: before it no reader looks at the new versions, after
    it all do. An entry whose day, manifests and models are already in the ledger is returned as
    it is; u2q and x2q of the current one are reloaded if Valkey has lost them. LedgerConflict for
    a day before the current one.
    """
    current = ctx.ledger.current()
    made = (entry.day, entry.manifests, entry.models)
    for known in ctx.ledger.entries():
        if (known.day, known.manifests, known.models) == made:
            if known == current:
                load_indexes(ctx, known)
            print(f"publish {entry.day}: up to date (release {known.number})")
            return known
    # A load lets the other versions expire, so what cannot go live must not be loaded.
    if current is None or current.day <= entry.day:
        load_indexes(ctx, entry)
    appended = ctx.ledger.append(entry)
    print(f"publish {entry.day}: release {appended.number} is live ({appended.verdict})")
    return appended


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
