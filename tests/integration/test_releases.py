"""What the ledger tells and going back in it, on real S3 and Valkey."""

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pandas as pd
import pytest

from aigq_tasks.errors import AigqError
from aigq_tasks.pipeline.context import Context
from aigq_tasks.recall import u2q
from aigq_tasks.releases import live
from aigq_tasks.releases.gc import collect
from aigq_tasks.releases.live import go_live, publish_release
from aigq_tasks.releases.rollback import rollback
from aigq_tasks.reports.difference import compared
from aigq_tasks.reports.ledger import fact_rows, ledger_rows, model_rows
from aigq_tasks.serving.indexes import connect, get_u2q, lookup_x2q, version_of
from aigq_tasks.storage.ledger import Entry, LedgerConflict
from aigq_tasks.storage.manifests import Blob, Manifest
from aigq_tasks.storage.tables import to_parquet

pytestmark = pytest.mark.integration
FIRST = date(2017, 11, 6)


@pytest.fixture
def publish(ctx: Context) -> Callable[..., Entry]:
    """publish(n) releases day n: its policy wrote "tea n" for ann, and AUC was 0.n. With another
    word than tea it is a recomputation of the day."""

    def made(stage: str, day: date, files: dict[str, bytes], auc: float) -> str:
        outputs = {name: Blob(ctx.store.put_blob(data), len(data)) for name, data in files.items()}
        manifest = Manifest(
            stage=stage, day=day, outputs=outputs, config={"seed": 17}, metrics={"auc": auc}
        )
        return ctx.manifests.create(manifest).digest

    def build(number: int, word: str = "tea") -> Entry:
        day = FIRST + timedelta(days=number - 1)
        lists = u2q.build({"ann": [f"{word} {number}"]}, day)
        index = pd.DataFrame([("tea", 1, f"jam {number}", 0.5)])
        index.columns = ["trigger", "rank", "query", "score"]
        models = {
            "u2q": made("u2q", day, {"u2q.parquet": to_parquet(lists)}, 0.0),
            "x2q": made("x2q", day, {"x2q.parquet": to_parquet(index)}, 0.0),
            "direct": made("policy", day, {"weights": f"{word} {number}".encode()}, 0.0),
            "ctr": made("ctr", day, {}, number / 10),
        }
        entry = Entry(
            day=day,
            revision=1,
            parent=number - 1 or None,
            manifests={"ctr": models["ctr"]},
            models=models,
            verdict="accepted",
            code="c" * 64,
            config="d" * 64,
            who="ann",
            why="daily run",
        )
        return publish_release(ctx, entry)

    return build


def served(ctx: Context) -> list[str]:
    """What the current release holds for ann and for the trigger tea."""
    entry = ctx.ledger.current()
    assert entry is not None
    with connect(ctx.settings.valkey.url) as client:
        own = get_u2q(client, version_of(entry.models["u2q"]), "ann")
        tied = lookup_x2q(client, version_of(entry.models["x2q"]), ["tea"])["tea"]
    assert own is not None
    return [query for query, _ in [*own.queries, *tied]]


def test_a_rollback_serves_the_old_release_within_seconds(
    ctx: Context, publish: Callable[..., Entry]
) -> None:
    for number in range(1, 7):
        publish(number)
    for number in (5, 4, 3, 2, 1):
        began = time.monotonic()
        entry = rollback(ctx, number, "ann", "clicks fell")
        assert served(ctx) == [f"tea {number}", f"jam {number}"]
        assert time.monotonic() - began < 5
        assert (entry.day, entry.verdict, entry.parent) == (
            FIRST + timedelta(days=5),
            "rollback",
            number,
        )
        assert entry.why == "clicks fell"
    # The next day goes on from what is served, not from what was released last.
    parent = ctx.ledger.live_on(FIRST + timedelta(days=6))
    assert parent is not None
    assert parent.models == ctx.ledger.entry(1).models
    # Forward again is a rollback too, and a second one does nothing.
    forward = rollback(ctx, 6, "ann", "it was not the release")
    assert served(ctx) == ["tea 6", "jam 6"]
    assert rollback(ctx, 6, "ann", "again") == forward
    assert [entry.number for entry in ctx.ledger.entries()] == list(range(1, 13))
    # The release of a later day is a release like any other.
    assert publish(7).number == 13
    assert served(ctx) == ["tea 7", "jam 7"]


def test_a_lost_cache_is_loaded_again(ctx: Context, publish: Callable[..., Entry]) -> None:
    publish(1)
    publish(2)
    with connect(ctx.settings.valkey.url) as client:
        for key in client.scan_iter(match=f"*{version_of(ctx.ledger.entry(1).models['u2q'])}*"):
            client.delete(key)
    rollback(ctx, 1, "ann", "clicks fell")
    assert served(ctx) == ["tea 1", "jam 1"]


def test_what_cannot_be_gone_back_to(ctx: Context, publish: Callable[..., Entry]) -> None:
    with pytest.raises(AigqError, match="no release 1: the ledger holds none yet"):
        rollback(ctx, 1, "ann", "clicks fell")
    publish(1)
    with pytest.raises(AigqError, match="no release 7: the ledger holds 1 to 1"):
        rollback(ctx, 7, "ann", "clicks fell")
    bare = Entry(
        day=FIRST + timedelta(days=1),
        revision=1,
        parent=1,
        models={"recall": "r" * 64},
        verdict="bootstrap",
        code="c",
        config="d",
        who="ann",
        why="launch",
    )
    ctx.ledger.append(bare)
    with pytest.raises(AigqError, match=r"release 2 .* has no policy to go back to"):
        rollback(ctx, 2, "ann", "clicks fell")
    assert len(ctx.ledger.entries()) == 2


def test_what_went_live_meanwhile_is_not_let_expire(
    ctx: Context, publish: Callable[..., Entry], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another publishes between this one's look at the ledger and its retirement of lists."""
    publish(1)
    retire = live.retire_others

    def late(*args: Any) -> None:
        monkeypatch.setattr(live, "retire_others", retire)
        publish(3)
        retire(*args)

    monkeypatch.setattr(live, "retire_others", late)
    older = publish(2)
    assert (older.number, served(ctx)) == (2, ["tea 3", "jam 3"])
    current = ctx.ledger.current()
    assert current is not None
    served_now = {f"{kind}:{version_of(current.models[kind])}" for kind in ("u2q", "x2q")}
    with connect(ctx.settings.valkey.url) as client:
        for entry in ctx.ledger.entries():
            for kind in ("u2q", "x2q"):
                marker = f"{kind}:{version_of(entry.models[kind])}"
                assert (client.ttl(marker) == -1) == (marker in served_now), (entry.number, kind)


def test_a_release_is_built_on_the_one_that_it_was_checked_against(
    ctx: Context, publish: Callable[..., Entry]
) -> None:
    publish(1)
    second = publish(2)
    rollback(ctx, 1, "ann", "clicks fell")
    stale = replace(second, day=FIRST + timedelta(days=2), number=0)
    with pytest.raises(LedgerConflict, match="release 2 is not the current one anymore"):
        publish_release(ctx, stale, after=2)
    assert served(ctx) == ["tea 1", "jam 1"]
    assert not ctx.ledger.shelf()


def test_a_rollback_loses_against_a_later_day(
    ctx: Context, publish: Callable[..., Entry], monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(1)
    publish(2)
    monkeypatch.setattr(
        "aigq_tasks.releases.rollback.go_live",
        lambda *args: publish(3) and go_live(*args),  # just before it appends
    )
    with pytest.raises(LedgerConflict, match="already released 2017-11-08"):
        rollback(ctx, 1, "ann", "clicks fell")
    assert served(ctx) == ["tea 3", "jam 3"]


def test_what_a_person_reads(ctx: Context, publish: Callable[..., Entry]) -> None:
    first, second = publish(1), publish(2)
    found = compared(ctx, first, second)
    changed = {one.what: (one.was, one.now) for one in found if one.differs}
    assert changed["day"] == ("2017-11-06", "2017-11-07")
    assert changed["ctr auc"] == ("0.1", "0.2")
    assert changed["direct"] == (first.models["direct"][:8], second.models["direct"][:8])
    assert not {"code", "config", "ctr seed", "verdict"} & set(changed)
    listed = ledger_rows(ctx)
    assert [row["day"] for row in listed] == ["2017-11-07", "2017-11-06"]  # the newest first
    assert {row["why"] for row in listed} == {"daily run"}
    assert {row["manifest"] for row in model_rows(ctx, first)} == set(first.models.values())
    assert {"what": "code", "value": "c" * 64} in fact_rows(first)


def test_a_recomputed_day_never_moves_live(ctx: Context, publish: Callable[..., Entry]) -> None:
    """Days 1 to 4 are released; 2 and 3 are computed again, then 4, the current one."""
    for number in range(1, 5):
        publish(number)
    days = [FIRST + timedelta(days=n) for n in range(6)]
    again = publish(2, "again")
    assert again.number == -1
    assert publish(2, "again") == again  # run once more: nothing new
    assert served(ctx) == ["tea 4", "jam 4"]
    # The run of day 3 starts from the recomputed day 2, that of day 4 still from the old day 3.
    parents = [ctx.ledger.parent_of(day) for day in days[2:4]]
    assert [own.number for own in parents if own] == [-1, 3]
    assert publish(3, "again").number == -2
    parent = ctx.ledger.parent_of(days[3])
    assert parent is not None
    assert parent.number == -2
    # The chain reaches the day that is live: its release goes live.
    assert publish(4, "again").number == 5
    assert served(ctx) == ["again 4", "jam 4"]
    parent = ctx.ledger.parent_of(days[4])
    assert parent is not None
    assert parent.number == 5
    # What served in the past is not rewritten.
    assert [own.number for own in (ctx.ledger.live_on(day) for day in days[1:4]) if own] == [
        1,
        2,
        3,
    ]
    assert "shelf 2" in {row["release"] for row in ledger_rows(ctx)}


def test_publishing_an_old_day_again_leaves_the_live_lists_alone(
    ctx: Context, publish: Callable[..., Entry]
) -> None:
    publish(1)
    newest = publish(2)
    publish(1)
    publish(1, "again")
    with connect(ctx.settings.valkey.url) as client:
        assert client.ttl(f"u2q:{version_of(newest.models['u2q'])}") == -1  # it stays


def test_collected_garbage_leaves_every_kept_release_whole(
    ctx: Context, publish: Callable[..., Entry]
) -> None:
    with pytest.raises(AigqError, match="nothing is released yet"):
        collect(ctx, days=2, grace_hours=0, dry=False)
    for number in range(1, 6):
        publish(number)
    lost = ctx.store.put_blob(b"a stage was killed before its manifest")
    before = ctx.store.list("")
    told = collect(ctx, days=2, grace_hours=0, dry=True)
    assert collect(ctx, days=2, grace_hours=1, dry=False).objects == 0  # all of it is younger
    assert ctx.store.list("") == before
    assert collect(ctx, days=2, grace_hours=0, dry=False) == told
    assert len(ctx.store.list("")) == len(before) - told.objects
    # Days 4 and 5, and day 3, which served day 4.
    for number in (5, 4, 3):
        rollback(ctx, number, "ann", "are they whole?")
        for digest in ctx.ledger.entry(number).models.values():
            for output in ctx.manifests.get(digest).outputs.values():
                ctx.store.get_blob(output.digest)
    with pytest.raises(AigqError, match="restore the bucket"):
        rollback(ctx, 1, "ann", "it is gone")
    assert f"objects/{lost}" not in ctx.store.list("objects/")
    assert len(ctx.ledger.entries()) == 5 + 2  # the first was served already
