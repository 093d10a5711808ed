"""What is corrupted in S3 is found before it is used, whatever it is and however it was done.

A seeded run over the objects of a small real release: each case overwrites one of them (a bit
flipped, cut short, emptied, another of its kind in its place), reads it by the path that the
stages take, and puts it back. CI runs 50 cases; AIGQ_TEST_CORRUPTIONS=500 is the full run.
"""

import copy
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any

import pytest
import servers
from small_release import DAY, EVE, small_release, small_settings

from aigq_tasks.errors import AigqError
from aigq_tasks.pipeline.calendar import days_between
from aigq_tasks.pipeline.context import Context
from aigq_tasks.pipeline.given import Stored
from aigq_tasks.pipeline.reading import logs_of, model, need, stored
from aigq_tasks.policy.backbone import load_policy
from aigq_tasks.serving.histories import BEHAVIOUR_TABLES, item_texts
from aigq_tasks.serving.stack import classic_sources, classifier, click_model, recall_sources
from aigq_tasks.storage.ledger import Entry, Ledger
from aigq_tasks.storage.manifests import Manifests
from aigq_tasks.storage.objects import blob_key

pytestmark = pytest.mark.integration
CASES = int(os.environ.get("AIGQ_TEST_CORRUPTIONS", "50"))
SEED = 17
BUCKET = "corruption"


@dataclass(frozen=True)
class Target:
    """An object, the kind of what it is, and what a stage does to use it."""

    key: str
    kind: str
    use: Callable[[Context], Any]


@dataclass(frozen=True)
class World:
    ctx: Context
    targets: list[Target]
    overwrite: Callable[[str, bytes], None]


@pytest.fixture(scope="module")
def world(s3_server: servers.S3Server) -> Iterator[World]:
    with pytest.MonkeyPatch.context() as patch:
        settings = small_settings(s3_server, BUCKET, "redis://127.0.0.1:1", patch)
        ctx = Context.open(settings)
        entry = ctx.ledger.append(small_release(ctx))
        shelved = [ctx.ledger.shelve(own) for own in (entry, ctx.ledger.entry(1))]
        assert [own.number for own in shelved] == [-1, -2]
        client = servers.s3_client(s3_server)

        def overwrite(key: str, data: bytes) -> None:
            client.put_object(Bucket=BUCKET, Key=key, Body=data)

        yield World(ctx, targets_of(ctx, entry), overwrite)
    servers.delete_bucket(s3_server, BUCKET)


def targets_of(ctx: Context, entry: Entry) -> list[Target]:
    """Every object of the release that a stage or a reader of it uses."""

    def held(own: Context, kind: str) -> Stored:
        return stored(own, model(own, entry, kind))

    def sources(own: Context) -> Any:
        return recall_sources({kind: held(own, kind) for kind in ("recall", "u2q", "x2q")})

    uses: dict[str, Callable[[Context], Any]] = {
        "direct": lambda own: load_policy(held(own, "direct").files()),
        "think": lambda own: load_policy(held(own, "think").files()),
        "ctr": lambda own: click_model(held(own, "ctr")),
        "recall": lambda own: classic_sources(held(own, "recall")),
        "categories": lambda own: classifier(held(own, "categories")),
        "u2q": sources,
        "x2q": sources,
        "item-texts": lambda own: item_texts(held(own, "item-texts")),
    }
    found = {}
    for kind, use in uses.items():
        manifest = model(ctx, entry, kind)
        for output in manifest.outputs.values():
            found[blob_key(output.digest)] = Target(blob_key(output.digest), "blob", use)
        body = blob_key(manifest.digest)
        found[body] = Target(body, "blob", use)
    for day in (EVE, DAY):
        for name in BEHAVIOUR_TABLES:
            key = blob_key(need(ctx, "logs", day).outputs[f"{name}.parquet"].digest)
            found[key] = Target(
                key, "blob", lambda own: logs_of(own, days_between(EVE, DAY), BEHAVIOUR_TABLES)
            )
    for key in ctx.store.list("manifests/"):
        _, stage, day, _ = key.split("/")
        found[key] = Target(
            key,
            "manifest",
            lambda own, stage=stage, day=day: need(own, stage, date.fromisoformat(day)),
        )
    for key in ctx.store.list("ledger/"):
        found[key] = Target(key, "entry", lambda own: own.ledger.live_on(DAY))
    for key in ctx.store.list("shelf/"):
        found[key] = Target(key, "entry", lambda own: own.ledger.parent_of(DAY))
    return list(found.values())


FAULTS = ("flip a bit", "truncate", "empty", "swap")


def corrupted(draw: random.Random, fault: str, data: bytes, others: list[bytes]) -> bytes:
    """Other bytes than `data`."""
    if fault == "flip a bit":
        place = draw.randrange(len(data))
        return data[:place] + bytes([data[place] ^ 1 << draw.randrange(8)]) + data[place + 1 :]
    if fault == "truncate":
        return data[: draw.randrange(1, len(data))]
    return b"" if fault == "empty" else draw.choice([own for own in others if own != data])


def fresh(ctx: Context) -> Context:
    """The context of a new process, which knows nothing yet, on the same connections."""
    store = copy.copy(ctx.store)
    return Context(ctx.settings, store, Manifests(store), Ledger(store), ctx.source)


def test_everything_can_be_used_as_it_is(world: World) -> None:
    own = fresh(world.ctx)
    for target in world.targets:
        target.use(own)


def test_every_corruption_is_found_before_use(world: World) -> None:
    draw = random.Random(SEED)
    whole = {target.key: world.ctx.store.get(target.key) or b"" for target in world.targets}
    missed, done = [], Counter[str]()
    for number in range(CASES):
        # Kinds take turns: there are many more blobs than entries.
        kind, fault = ("blob", "manifest", "entry")[number % 3], draw.choice(FAULTS)
        same = [target for target in world.targets if target.kind == kind]
        target = draw.choice(same)
        others = [whole[other.key] for other in same]
        world.overwrite(target.key, corrupted(draw, fault, whole[target.key], others))
        try:
            target.use(fresh(world.ctx))
            missed.append(f"{fault}: {target.key} was used")
        except AigqError as error:
            name = target.key.removeprefix("objects/")
            if name not in str(error) or len(str(error).splitlines()) != 1:
                missed.append(f"{fault}: {target.key} was reported as {error}")
        finally:
            world.overwrite(target.key, whole[target.key])
        done[f"{kind}, {fault}"] += 1
    print(f"{CASES} corruptions, {len(missed)} missed: {dict(sorted(done.items()))}")
    assert missed == []
    test_everything_can_be_used_as_it_is(world)


def test_a_record_of_another_name_or_of_no_kind_is_refused(world: World) -> None:
    """Their bytes are stored objects, so their digest alone would pass."""
    store = world.ctx.store
    key = f"manifests/logs/{DAY}/0001.json"
    own = store.get(key)
    yesterday = store.get(f"manifests/logs/{EVE}/0001.json")
    parquet = store.get_blob(need(world.ctx, "logs", DAY).outputs["searches.parquet"].digest)
    assert own is not None
    assert yesterday is not None
    store.put_blob(b"[]")
    store.put_blob(b"")
    for data, words in (
        (yesterday, rf"holds what belongs to manifests/logs/{EVE}/0001\.json"),
        (parquet, "holds something else"),
        (b"[]", "holds something else"),
        (b"", "holds something else"),
    ):
        world.overwrite(key, data)
        try:
            with pytest.raises(AigqError, match=words) as caught:
                fresh(world.ctx).manifests.head("logs", DAY)
            assert "restore it from a backup, or delete it and run the stage" in str(caught.value)
        finally:
            world.overwrite(key, own)


def test_what_was_checked_once_stays_known(world: World) -> None:
    """A process reads a record once: what happens to the object later does not reach it."""
    key = f"manifests/logs/{DAY}/0001.json"
    own = world.ctx.store.get(key)
    assert own is not None
    reader = Manifests(world.ctx.store)
    before = reader.head("logs", DAY)
    world.overwrite(key, own[:-1])
    try:
        assert reader.head("logs", DAY) == before
    finally:
        world.overwrite(key, own)
