"""The champion beside its anchors, day by day: does what serves get worse, slowly?"""

from aigq_tasks.pipeline.context import Context
from aigq_tasks.pipeline.lines import GO_BACK, VERDICT
from aigq_tasks.reports.days import daily
from aigq_tasks.storage.manifests import Manifest

TITLE = "HR@30 of the champion minus its anchors, the last seven days together [gate's bounds]"
# anchor, as the metrics of the gate name it -> column title
ANCHORS = {"sft": "minus IL-SFT", "week_ago": "minus a week ago"}


def trend_rows(ctx: Context) -> list[dict[str, str]]:
    """One row per released day that a gate judged, in ledger order: the champion of that day minus
    each anchor with the bounds that the gate goes by, the user-days behind them, and whether it
    lay below one."""
    judged = [entry for entry in daily(ctx) if VERDICT in entry.manifests]
    found = ctx.manifests.get_all(entry.manifests[VERDICT] for entry in judged)
    return [
        {
            "day": entry.day.isoformat(),
            **{heading: _bounds(gate, anchor) for anchor, heading in ANCHORS.items()},
            "user-days": _number(gate, "sft/user_days", ".0f"),
            "below": "yes" if gate.metrics.get(GO_BACK) else "no",
        }
        for entry in judged
        for gate in [found[entry.manifests[VERDICT]]]
    ]


def _bounds(gate: Manifest, anchor: str) -> str:
    """ "-" where too few users told."""
    if f"champion/{anchor}/mean" not in gate.metrics:
        return "-"
    mean, low, high = (
        _number(gate, f"{anchor}/{name}", "+.3f") for name in ("mean", "low", "high")
    )
    return f"{mean} [{low}, {high}]"


def _number(gate: Manifest, name: str, how: str) -> str:
    value = gate.metrics.get(f"champion/{name}")
    return "-" if value is None else format(float(value), how)
