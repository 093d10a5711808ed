"""The verdicts of a day as a person reads them: in the log of the task, and in its note."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aigq_tasks.pipeline.context import Context
from aigq_tasks.pipeline.reading import record
from aigq_tasks.storage.manifests import Manifest


@dataclass(frozen=True)
class VerdictReport:
    """title: on what, and how it was decided. checks: every figure with its bound, as rows; []
    where no figure decides. reasons: in words."""

    title: str
    checks: list[dict[str, str]]
    reasons: list[str]

    @property
    def words(self) -> str:
        """It without the figures, one line per reason."""
        return "\n".join([self.title, *(f"- {reason}" for reason in self.reasons)])


def verdicts(ctx: Context, made: Manifest) -> list[VerdictReport]:
    """Those that the result of a stage holds; [] for a stage that gives none."""
    tell = _TELL.get(made.stage)
    return tell(ctx, made) if tell else []


def _quality(ctx: Context, made: Manifest) -> list[VerdictReport]:
    """Of `gate`: on AIGQ-Direct, and on AIGQ-Think where it was trained."""
    verdict = record(ctx, made, "verdict.json")
    variants = {"AIGQ-Direct": verdict, "AIGQ-Think": verdict.get("think")}
    return [
        VerdictReport(
            f"{name} of {made.day}: {'accepted' if said['accepted'] else 'rejected'}",
            [_check(check) for check in said["checks"]],
            [*said["reasons"], *said.get("anchors", {}).get("words", [])],  # of the champion
        )
        for name, said in variants.items()
        if said
    ]


def _servable(ctx: Context, made: Manifest) -> list[VerdictReport]:
    verdict = record(ctx, made, "servable.json")
    word = "can be served" if verdict["servable"] else "cannot be served"
    return [VerdictReport(f"release of {made.day}: {word}", [], verdict["reasons"])]


_TELL: Mapping[str, Callable[[Context, Manifest], list[VerdictReport]]] = {
    "gate": _quality,
    "servable": _servable,
}


def _check(check: dict[str, Any]) -> dict[str, str]:
    bounds = [
        f"{sign} {check[name]:.4f}"
        for name, sign in (("floor", ">="), ("limit", "<="))
        if name in check
    ]
    return {
        "check": check["name"],
        "value": f"{check['value']:.4f}",
        "bound": " ".join(bounds) or "-",
        "passed": "yes" if check["passed"] else "NO",
    }
