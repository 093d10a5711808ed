"""What is told of a small release that is live on real S3 and Valkey."""

from collections.abc import Iterator
from datetime import time, timedelta

import pytest
import servers
from small_release import DAY, EVE, small_release, small_settings

from aigq_tasks.cli import printing
from aigq_tasks.errors import AigqError
from aigq_tasks.pipeline.context import Context
from aigq_tasks.releases.live import publish_release
from aigq_tasks.reports import hints, ledger
from aigq_tasks.reports.difference import compared
from aigq_tasks.storage.ledger import Entry

pytestmark = pytest.mark.integration
Live = tuple[Context, Entry]


@pytest.fixture(scope="module")
def live(s3_server: servers.S3Server, valkey_url: str) -> Iterator[Live]:
    bucket = "small-reports"
    with pytest.MonkeyPatch.context() as patch:
        ctx = Context.open(small_settings(s3_server, bucket, valkey_url, patch))
    yield ctx, publish_release(ctx, small_release(ctx))
    servers.delete_bucket(s3_server, bucket)


def test_the_newest_release_answers_unless_a_day_is_named(live: Live) -> None:
    ctx, entry = live
    assert hints.serving_entry(ctx, None) == entry
    assert hints.serving_entry(ctx, DAY + timedelta(days=1)) == entry
    assert hints.serving_entry(ctx, DAY) == ctx.ledger.entry(1)
    with pytest.raises(AigqError, match="nothing is released yet"):
        hints.serving_entry(ctx, EVE)


def test_what_a_policy_wrote_before_it_is_released(live: Live) -> None:
    ctx, entry = live
    user, queries = hints.written_list(ctx, DAY)
    assert (user, queries) == ("ann", hints.cached_list(ctx, entry, "ann"))
    assert hints.written_list(ctx, DAY, user) == (user, queries)
    with pytest.raises(AigqError, match="u2q of"):
        hints.written_list(ctx, EVE)


def test_hints_of_a_user(live: Live, capsys: pytest.CaptureFixture[str]) -> None:
    ctx, entry = live
    cached = hints.cached_list(ctx, entry, "ann")
    assert len(cached) == 3
    assert hints.cached_list(ctx, entry, "nobody") == []
    served = DAY + timedelta(days=1)
    rows = hints.ranking_rows(ctx, entry, "ann", served)
    assert [row["rank"] for row in rows] == [str(n) for n in range(1, len(rows) + 1)]
    scores = [float(row["score"]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    assert set(cached) <= {row["query"] for row in rows}

    capsys.readouterr()
    # At a time of the day, with what its log holds until then: an hour after ann's searches.
    early = hints.ranking_rows(ctx, ctx.ledger.entry(1), "ann", DAY, time(7))
    late = hints.ranking_rows(ctx, ctx.ledger.entry(1), "ann", DAY, time(9))
    assert early == hints.ranking_rows(ctx, ctx.ledger.entry(1), "ann", DAY)
    assert early != late
    with pytest.raises(AigqError, match="logs"):
        hints.ranking_rows(ctx, entry, "ann", served, time(9))  # nothing has happened yet
    printing.print_hints(ctx, "ann", None)
    title, wrote, heading, *shown = capsys.readouterr().out.splitlines()
    assert title == f"ann on {served} · release 2 ({DAY}, accepted)"
    assert wrote == f"AIGQ-Direct wrote: {', '.join(cached)}"
    assert heading.split() == ["rank", "query", "source", "score"]
    assert [row.split()[-1] for row in shown] == [row["score"] for row in rows]


def test_a_day_is_answered_as_its_own_release_did(live: Live) -> None:
    ctx, _ = live
    rows = hints.ranking_rows(ctx, ctx.ledger.entry(1), "ann", DAY)
    assert rows
    assert "u2q" not in {row["source"] for row in rows}  # the first release had no lists yet


def test_what_a_trigger_leads_to(live: Live) -> None:
    ctx, entry = live
    assert hints.lookup_rows(ctx, entry, ["Milk!", "Nothing like this"]) == [
        {"trigger": "milk", "rank": "1", "query": "butter", "score": "0.5000"},
        {
            "trigger": "nothing like this",
            "rank": "-",
            "query": "not a trigger of this release",
            "score": "-",
        },
    ]


def test_the_ledger_and_a_release_of_it(live: Live) -> None:
    ctx, entry = live
    newest, oldest = ledger.ledger_rows(ctx)
    assert (newest["release"], newest["day"], newest["parent"]) == ("2", str(DAY), "1")
    assert newest["direct"] == entry.models["direct"][:8]
    assert (oldest["release"], oldest["verdict"], oldest["parent"]) == ("1", "bootstrap", "-")
    facts = {row["what"]: row["value"] for row in ledger.fact_rows(entry)}
    assert (facts["who"], facts["why"], facts["parent"]) == ("w", "test", "1")
    models = {row["serves"]: row for row in ledger.model_rows(ctx, entry)}
    assert {kind: row["manifest"] for kind, row in models.items()} == entry.models
    assert models["direct"]["made by"] == "policy"
    assert models["categories"]["day"] == str(EVE)
    stages = {row["stage"]: row for row in ledger.stage_rows(ctx, entry)}
    assert stages.keys() == entry.manifests.keys()
    assert "release item-texts" in stages["u2q"]["inputs"]
    found = {(one.kind, one.what): one for one in compared(ctx, ctx.ledger.entry(1), entry)}
    day, lists = found["decision", "day"], found["models", "u2q"]
    assert (day.was, day.now, day.differs) == (str(EVE), str(DAY), True)
    assert (lists.was, lists.now) == ("-", entry.models["u2q"][:8])
    assert not found["models", "categories"].differs
