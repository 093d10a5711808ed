"""Publish races: writers that release different days at the same moment."""

import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date, timedelta
from queue import Queue

from aigq_tasks.pipeline.context import Context
from aigq_tasks.releases.live import publish_release
from aigq_tasks.settings import Settings
from aigq_tasks.storage.ledger import FOLDER, SHELF, Entry, Ledger

WRITERS = 8
AT_ONCE = 4  # races, in a bucket each: SeaweedFS lets who loses a key wait for a second
FIRST = date(2017, 11, 6)


def run_races(settings: Settings, count: int, seed: int) -> Iterator[tuple[int, int]]:
    """(released, shelved) of each race; AssertionError at the first that goes wrong."""
    lanes: Queue[list[Context]] = Queue()
    for lane in range(AT_ONCE):
        s3 = settings.s3.model_copy(update={"bucket": lane_bucket(settings, lane)})
        own = settings.model_copy(update={"s3": s3})
        lanes.put([Context.open(own) for _ in range(WRITERS)])  # clients of their own

    def race(number: int) -> tuple[int, int]:
        writers = lanes.get()
        outcome = _race(writers, random.Random(f"{seed}-{number}"))
        lanes.put(writers)
        return outcome

    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield from pool.map(race, range(count))


def lane_bucket(settings: Settings, lane: int) -> str:
    return f"{settings.s3.bucket}-race-{lane}"


def _race(writers: list[Context], drawn: random.Random) -> tuple[int, int]:
    """Each writer publishes a release of its own; days are drawn, so some are of the same day and
    some are older than what another has just released."""
    store = writers[0].store
    for key in [*store.list(FOLDER), *store.list(SHELF)]:
        store.delete(key)
    writers = [replace(ctx, ledger=Ledger(ctx.store)) for ctx in writers]
    entries = [_entry(number, drawn.randrange(WRITERS)) for number in range(WRITERS)]
    gate = threading.Barrier(WRITERS)

    def write(ctx: Context, entry: Entry) -> Entry:
        gate.wait()
        return publish_release(ctx, entry)

    with ThreadPoolExecutor(WRITERS) as pool:
        returned = list(pool.map(write, writers, entries))
    ledger, shelf = Ledger(store).entries(), Ledger(store).shelf()
    assert [entry.number for entry in ledger] == list(range(1, len(ledger) + 1))
    assert [entry.number for entry in shelf] == list(range(-1, -len(shelf) - 1, -1))
    assert [entry.day for entry in ledger] == sorted(entry.day for entry in ledger)
    # What each writer was told is what is there, and nothing else is.
    assert sorted(returned, key=lambda own: own.number) == [*reversed(shelf), *ledger]
    assert [entry.who for entry in returned] == [entry.who for entry in entries]
    assert all(shelved.day < ledger[-1].day for shelved in shelf)
    return len(ledger), len(shelf)


def _entry(writer: int, day: int) -> Entry:
    return Entry(
        day=FIRST + timedelta(days=day),
        revision=1,
        parent=None,
        models={"direct": f"{writer:064d}"},
        verdict="accepted",
        code="c" * 64,
        config="d" * 64,
        who=f"writer {writer}",
        why="race",
    )
