"""What the release ledger tells: all of it, and one release."""

from aigq_tasks.pipeline.context import Context
from aigq_tasks.storage.ledger import Entry

SHORT = 8  # digits of a digest that people read
# What was decided of a release.
FACTS = ("day", "revision", "verdict", "parent", "who", "why", "code", "config")


def ledger_rows(ctx: Context) -> list[dict[str, str]]:
    """The ledger and the shelf, one row per entry, the newest day first."""
    entries = [*ctx.ledger.entries(), *ctx.ledger.shelf()]
    newest_first = sorted(entries, key=lambda one: (one.day, abs(one.number)), reverse=True)
    return [
        {
            "release": _name(entry.number),
            "day": entry.day.isoformat(),
            "verdict": entry.verdict,
            "parent": _name(entry.parent or 0),
            **{kind: entry.models.get(kind, "-")[:SHORT] for kind in ("direct", "think", "ctr")},
            "who": entry.who,
            "why": entry.why,
        }
        for entry in newest_first
    ]


def fact_rows(entry: Entry) -> list[dict[str, str]]:
    """What was decided of a release, one row per fact."""
    return [{"what": name, "value": str(getattr(entry, name))} for name in FACTS]


def model_rows(ctx: Context, entry: Entry) -> list[dict[str, str]]:
    """The models that a release serves, and what made each of them."""
    made = ctx.manifests.get_all(entry.models.values())
    return [
        {
            "serves": kind,
            "made by": made[digest].stage,
            "day": str(made[digest].day),
            "revision": str(made[digest].revision),
            "manifest": digest,
        }
        for kind, digest in sorted(entry.models.items())
    ]


def stage_rows(ctx: Context, entry: Entry) -> list[dict[str, str]]:
    """What the day of a release ran, and of what each result was made."""
    ran = ctx.manifests.get_all(entry.manifests.values())
    return [
        {
            "stage": stage,
            "manifest": digest[:SHORT],
            "inputs": ", ".join(f"{name} {of[:SHORT]}" for name, of in ran[digest].inputs.items()),
            "metrics": str(len(ran[digest].metrics)),
        }
        for stage, digest in sorted(entry.manifests.items())
    ]


def _name(number: int) -> str:
    """A release as people call it: 4, or "shelf 2" for one that never went live."""
    return f"shelf {-number}" if number < 0 else str(number or "-")
