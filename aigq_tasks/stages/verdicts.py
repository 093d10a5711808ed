"""The verdicts of a day as a person reads them: in the log of the task, and in its note."""

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from aigq_tasks.stages.context import Context
from aigq_tasks.stages.reading import record
from aigq_tasks.storage.manifests import Manifest

WIDTH = 100  # a task's log has no terminal to ask


def print_quality(ctx: Context, gate: Manifest) -> str:
    """Print the verdicts of a `gate` result: every figure with its bound, then the reasons.
    Returns it without the figures."""
    verdict = record(ctx, gate, "verdict.json")
    said = []
    for name, own in (("AIGQ-Direct", verdict), ("AIGQ-Think", verdict.get("think"))):
        if own:
            word = "accepted" if own["accepted"] else "rejected"
            title = f"{name} of {gate.day}: {word}"
            said.append(_print(title, _checks(own["checks"]), own["reasons"]))
    return "\n".join(said)


def print_servable(ctx: Context, servable: Manifest) -> str:
    """Print the verdict of a `servable` result, and return it."""
    verdict = record(ctx, servable, "servable.json")
    word = "can be served" if verdict["servable"] else "cannot be served"
    return _print(f"release of {servable.day}: {word}", None, verdict["reasons"])


def _checks(checks: list[dict[str, Any]]) -> Table:
    shown = Table("check", "value", "bound", "passed")
    for check in checks:
        bounds = [
            f"{sign} {check[name]:.4f}"
            for name, sign in (("floor", ">="), ("limit", "<="))
            if name in check
        ]
        passed = "yes" if check["passed"] else "NO"
        shown.add_row(check["name"], f"{check['value']:.4f}", " ".join(bounds) or "-", passed)
    return shown


def _print(title: str, table: Table | None, reasons: list[str]) -> str:
    console = Console(width=WIDTH)
    console.print(Text(title))
    if table:
        console.print(table)
    for reason in reasons:
        console.print(Text(f"- {reason}"))  # as it is: a query of a reason is no markup
    return "\n".join([title, *(f"- {reason}" for reason in reasons)])
