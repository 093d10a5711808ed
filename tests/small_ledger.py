"""A ledger of two days with the figures that the table of days shows; nothing is served or read."""

from datetime import date, timedelta

import servers

from aigq_tasks.pipeline.context import Context
from aigq_tasks.reports.days import COLUMNS
from aigq_tasks.settings import Settings
from aigq_tasks.storage.ledger import Entry
from aigq_tasks.storage.manifests import Manifest

FIRST = date(2017, 11, 6)
NOWHERE = "http://127.0.0.1:1"


def settings_of(s3: servers.S3Server, bucket: str) -> Settings:
    """Settings that name S3 and no other server."""
    return servers.settings_for(s3, bucket, NOWHERE, "redis://127.0.0.1:1")


def variables(settings: Settings) -> dict[str, str]:
    """The same as variables, for a process of its own."""
    s3 = settings.s3
    return {
        "AIGQ_S3__ENDPOINT": s3.url,
        "AIGQ_S3__BUCKET": s3.bucket,
        "AIGQ_S3__ACCESS_KEY": s3.access_key,
        "AIGQ_S3__SECRET_KEY": s3.secret_key.get_secret_value(),
    }


def release(ctx: Context, number: int, day: date | None = None, *more: str) -> Entry:
    """Append release `number`, of the stages that the table of days reads and of `more`. Its
    metrics are a tenth of its number, its settings a seed and its number of labels."""
    day = day or FIRST + timedelta(days=number - 1)
    never_updated = ctx.manifests.create(Manifest(stage="sft", day=FIRST))
    metrics: dict[str, dict[str, float | str]] = {stage: {} for stage in more}
    for stage, metric in COLUMNS.values():
        metrics.setdefault(stage, {"seconds": float(number)})[metric] = number / 10
    made = {
        stage: ctx.manifests.create(
            Manifest(
                stage=stage,
                day=day,
                config={"seed": 17, "list": {"labels": number}},
                metrics=own,
                version="1",
            )
        ).digest
        for stage, own in metrics.items()
    }
    return ctx.ledger.append(
        Entry(
            day=day,
            revision=1,
            parent=number - 1 or None,
            manifests=made,
            models={"direct": made["policy"], "sft": never_updated.digest},
            verdict="accepted",
            code="c" * 64,
            config="d" * 64,
            who="ann",
            why="[b]daily[/b] run",
        )
    )
