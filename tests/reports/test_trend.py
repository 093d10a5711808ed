"""The champion beside its anchors, as `aigq report` shows it, on real S3."""

from dataclasses import replace

import pytest
import servers
import small_ledger
from small_ledger import release

from aigq_tasks.cli.printing import print_report
from aigq_tasks.pipeline.context import Context
from aigq_tasks.pipeline.lines import GO_BACK
from aigq_tasks.reports.trend import TITLE, trend_rows

pytestmark = pytest.mark.integration


@pytest.fixture
def ctx(s3_server: servers.S3Server, bucket: str) -> Context:
    return Context.open(small_ledger.settings_of(s3_server, bucket))


def judged(ctx: Context, number: int, **metrics: float | str) -> None:
    """A release with these metrics of its gate."""
    entry = release(ctx, number, None, "gate")
    gate = ctx.manifests.get(entry.manifests["gate"])
    told = ctx.manifests.create(replace(gate, metrics=metrics))
    made = entry.manifests | {"gate": told.digest}
    ctx.ledger.append(replace(entry, manifests=made))


def test_the_trend_by_day(ctx: Context, capsys: pytest.CaptureFixture[str]) -> None:
    release(ctx, 1)  # of before there was such a verdict
    sft = {
        f"champion/sft/{name}": value
        for name, value in {
            "mean": -0.04,
            "low": -0.071,
            "high": -0.009,
            "user_days": 764.0,
        }.items()
    }
    week = {
        f"champion/week_ago/{name}": value
        for name, value in {"mean": -0.01, "low": -0.05, "high": 0.03, "user_days": 764.0}.items()
    }
    judged(ctx, 2, **sft, **week, **{GO_BACK: "ab"})
    few, below = trend_rows(ctx)
    assert few == {
        "day": "2017-11-07",
        "minus IL-SFT": "-",
        "minus a week ago": "-",
        "user-days": "-",
        "below": "no",
    }
    assert below == {
        "day": "2017-11-07",
        "minus IL-SFT": "-0.040 [-0.071, -0.009]",
        "minus a week ago": "-0.010 [-0.050, +0.030]",
        "user-days": "764",
        "below": "yes",
    }
    print_report(ctx)
    said = capsys.readouterr().out
    assert TITLE in said
    assert "-0.040 [-0.071, -0.009]" in said
