"""Publish races: writers that release different days at the same moment."""

import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta

from aigq_tasks.settings import Settings
from aigq_tasks.stages.context import Context
from aigq_tasks.stages.release import publish_release
from aigq_tasks.storage.ledger import Entry

WRITERS = 8
AT_ONCE = 4  # races, each in a bucket of its own: SeaweedFS lets who loses a key wait for a second
FIRST = date(2017, 11, 6)


def run_races(settings: Settings, count: int, seed: int) -> Iterator[tuple[int, int]]:
    """(released, shelved) of each race; AssertionError at the first that goes wrong."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield from pool.map(lambda number: _race(settings, number, seed), range(count))


def _race(settings: Settings, number: int, seed: int) -> tuple[int, int]:
    """Each writer publishes a release of its own; days are drawn, so some are of the same day and
    some are older than what another has just released."""
    bucket = f"{settings.s3.bucket}-race-{number}"
    s3 = settings.s3.model_copy(update={"bucket": bucket})
    own = settings.model_copy(update={"s3": s3})
    drawn = random.Random(f"{seed}-{number}")
    entries = [_entry(writer, drawn.randrange(WRITERS)) for writer in range(WRITERS)]
    gate = threading.Barrier(WRITERS)

    def write(entry: Entry) -> Entry:
        ctx = Context.open(own)
        gate.wait()
        return publish_release(ctx, entry)

    with ThreadPoolExecutor(WRITERS) as pool:
        returned = list(pool.map(write, entries))
    ledger, shelf = Context.open(own).ledger.entries(), Context.open(own).ledger.shelf()
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
