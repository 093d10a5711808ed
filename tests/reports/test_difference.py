"""`aigq diff`: what differs between two releases on real S3, and what of it is told."""

from dataclasses import replace
from datetime import timedelta

import pytest
import servers
import small_ledger
from small_ledger import FIRST, release

from aigq_tasks.cli.printing import print_difference
from aigq_tasks.errors import AigqError
from aigq_tasks.pipeline.context import Context
from aigq_tasks.reports.difference import Compared, compared, rows, told

pytestmark = pytest.mark.integration


@pytest.fixture
def ctx(s3_server: servers.S3Server, bucket: str) -> Context:
    return Context.open(small_ledger.settings_of(s3_server, bucket))


def named(found: list[Compared]) -> dict[str, tuple[str, str]]:
    return {f"{one.kind}: {one.what}": (one.was, one.now) for one in found}


def test_everything_is_compared_and_what_says_something_is_told(ctx: Context) -> None:
    first, second = release(ctx, 1), release(ctx, 2, None, "think-policy")
    found = compared(ctx, first, second)
    whole, short = named(found), named(told(found))
    assert len(whole) == len(found)
    kinds = list(dict.fromkeys(one.kind for one in found))
    assert kinds == ["decision", "models", "results", "settings", "metrics"]
    assert whole["decision: who"] == ("ann", "ann")
    assert whole["models: sft"] == (first.models["sft"][:8],) * 2
    assert whole["settings: ctr seed"] == ("17", "17")
    assert whole["results: ctr"] == tuple(side.manifests["ctr"][:8] for side in (first, second))
    assert whole["metrics: policy seconds"] == ("1", "2")
    assert short == {
        "decision: day": ("2017-11-06", "2017-11-07"),
        "decision: parent": ("-", "1"),
        "models: direct": (first.models["direct"][:8], second.models["direct"][:8]),
        "results: think-policy": ("-", second.manifests["think-policy"][:8]),
        **{f"settings: {stage} list.labels": ("1", "2") for stage in first.manifests},
        "metrics: ctr validation/auc": ("0.1", "0.2"),
        "metrics: policy reward": ("0.1", "0.2"),
        "metrics: evaluate challenger/query_hr_30": ("0.1", "0.2"),
        "metrics: evaluate sft/query_hr_30": ("0.1", "0.2"),
        "metrics: evaluate think/query_hr_30": ("0.1", "0.2"),
        "metrics: evaluate challenger/cate_hr_30": ("0.1", "0.2"),
        "metrics: evaluate interleaved/query_hr_30": ("0.1", "0.2"),
        "metrics: evaluate stack without AIGQ/query_hr_30": ("0.1", "0.2"),
        "metrics: evaluate challenger/needs_10": ("0.1", "0.2"),
        "metrics: evaluate sft/needs_10": ("0.1", "0.2"),
        "metrics: evaluate challenger/near_duplicates": ("0.1", "0.2"),
        "metrics: evaluate challenger/distinct_queries": ("0.1", "0.2"),
        "metrics: x2q hit_users": ("0.1", "0.2"),
    }
    assert rows(told(found), "models", 1, 2) == [
        {
            "what": "direct",
            "release 1": first.models["direct"][:8],
            "release 2": second.models["direct"][:8],
        }
    ]


def test_results_of_one_day_are_told_apart(ctx: Context) -> None:
    found = compared(ctx, release(ctx, 1), release(ctx, 2, FIRST))
    results = [one.what for one in told(found) if one.kind == "results"]
    assert results == ["ctr", "evaluate", "policy", "x2q"]


def test_a_release_does_not_differ_from_itself(ctx: Context) -> None:
    entry = release(ctx, 1)
    found = compared(ctx, entry, entry)
    assert found
    assert not [one for one in found if one.differs]


def test_a_small_difference_is_told_in_full(ctx: Context) -> None:
    first = release(ctx, 1)
    held = ctx.manifests.get(first.manifests["ctr"])
    nearly = ctx.manifests.create(replace(held, metrics={"validation/auc": 0.1000000001}))
    second = replace(first, manifests={**first.manifests, "ctr": nearly.digest})
    changed = named(told(compared(ctx, first, second)))
    assert changed["metrics: ctr validation/auc"] == ("0.1", "0.1000000001")


def test_it_is_printed_by_kind_and_the_rest_is_counted(
    ctx: Context, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in (1, 2):
        release(ctx, number)
    capsys.readouterr()
    print_difference(ctx, 1, 2, whole=False)
    *lines, counted = capsys.readouterr().out.splitlines()
    titles = [line.strip() for line in lines if len(line.split()) == 1]
    assert titles == ["decision", "models", "settings", "metrics"]
    # 2 facts, 1 model, 4 results, 4 settings, 13 figures and 4 times, which no table of days shows.
    # Equal: 6 facts, 1 model, 4 seeds.
    assert counted == (
        "28 differ (4 results and 4 metrics not told), 11 are equal; --all tells everything"
    )
    assert "seed" not in "".join(lines)

    print_difference(ctx, 1, 2, whole=True)
    *lines, counted = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines if "ctr seed" in line] == [["ctr", "seed", "17", "17"]]
    assert any("[b]daily[/b] run" in line for line in lines)  # text is data
    assert counted == "28 differ, 11 are equal"


def test_a_number_that_is_no_release(ctx: Context) -> None:
    release(ctx, 1, FIRST - timedelta(days=1))
    with pytest.raises(AigqError, match="there is no release 2: the ledger holds 1 to 1"):
        print_difference(ctx, 1, 2, whole=False)
