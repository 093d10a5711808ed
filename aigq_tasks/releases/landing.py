"""A day of the log, and the refusal of one that is too bad."""

from collections.abc import Mapping
from datetime import date
from typing import Any

from aigq_tasks.errors import AigqError
from aigq_tasks.pipeline.context import Context
from aigq_tasks.pipeline.reading import record
from aigq_tasks.pipeline.runner import run_stage
from aigq_tasks.pipeline.stage import Stage
from aigq_tasks.settings import LogSettings
from aigq_tasks.stages.land import LOGS
from aigq_tasks.storage.manifests import Manifest


def land(ctx: Context, day: date, stage: Stage[Any] = LOGS) -> Manifest:
    """Run the stage; AigqError if too much of the day's log is bad.

    The day is stored and its counts are in MLflow before it fails, so nothing is lost and there is
    something to look at. It fails again until the source is mended (a new result) or the setting
    lets it pass.
    """
    manifest = run_stage(stage, ctx, day)
    excess = too_bad(manifest.metrics, ctx.settings.logs)
    if excess:
        counts = record(ctx, manifest, "quarantine.json")
        words = "; ".join(
            f"{name} {share:.1%} ({', '.join(f'{n} {why}' for why, n in counts[name].items())})"
            for name, share in excess.items()
        )
        raise AigqError(
            f"too many bad rows in the log of {day}: {words}; they are stored under quarantine/ of "
            f"the logs result {manifest.digest[:8]}. Mend the source and land the day again, or "
            "let it pass with the settings logs.max_bad_share and logs.few_bad"
        )
    return manifest


def too_bad(metrics: Mapping[str, float | str], limits: LogSettings) -> dict[str, float]:
    """Tables with more bad rows than the limits allow -> the share of their rows that is bad."""
    prefix, found = "rows_", {}
    for name in sorted(key.removeprefix(prefix) for key in metrics if key.startswith(prefix)):
        good, bad = (float(metrics[f"{kind}_{name}"]) for kind in ("rows", "quarantined"))
        if bad > max(limits.few_bad, limits.max_bad_share * (good + bad)):
            found[name] = bad / (good + bad)
    return found
