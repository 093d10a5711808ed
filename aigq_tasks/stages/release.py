"""Making a release visible, and reading the one that is."""

from aigq_tasks.recall import u2q, versions
from aigq_tasks.stages.context import Context
from aigq_tasks.stages.reading import table
from aigq_tasks.storage.ledger import Entry


def publish_release(ctx: Context, entry: Entry) -> Entry:
    """Load the release's u2q lists into Valkey, then append the ledger entry.

    The append is the one atomic step: before it no reader looks at the new u2q version, after
    it all do. An entry whose day, manifests and models are already in the ledger is returned as
    it is, its u2q reloaded if Valkey has lost it.
    """
    if "u2q" in entry.models:
        load_u2q(ctx, entry)
    for known in ctx.ledger.entries():
        same = (known.day, known.manifests, known.models) == (
            entry.day,
            entry.manifests,
            entry.models,
        )
        if same:
            print(f"publish {entry.day}: up to date (release {known.number})")
            return known
    appended = ctx.ledger.append(entry)
    print(f"publish {entry.day}: release {appended.number} is live ({appended.verdict})")
    return appended


def u2q_version(entry: Entry) -> str:
    """The version under which Valkey holds a release's u2q lists."""
    return entry.models["u2q"][:16]


def load_u2q(ctx: Context, entry: Entry) -> None:
    """Bring Valkey to hold the release's u2q lists; nothing happens when it does."""
    entries = table(ctx, ctx.manifests.get(entry.models["u2q"]), "u2q")
    with versions.connect(ctx.settings.valkey.url) as client:
        u2q.load(client, u2q_version(entry), entries, ctx.settings.valkey.ttl_days)
