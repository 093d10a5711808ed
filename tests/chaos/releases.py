"""The cells of the crash matrix that make releases: publish, rollback, gc."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

from chaos import children
from chaos.cells import Cell, Outcome, World, killed_and_run_again

from aigq_tasks.pipeline.context import Context
from aigq_tasks.pipeline.reading import table
from aigq_tasks.releases.gc import collect
from aigq_tasks.releases.live import load_indexes
from aigq_tasks.releases.rollback import rollback
from aigq_tasks.serving.indexes import connect, get_u2q, lookup_x2q, version_of
from aigq_tasks.settings import Settings
from aigq_tasks.storage.crash import GC_POINTS, RELEASE_POINTS, SHELF_POINTS
from aigq_tasks.storage.ledger import Entry
from aigq_tasks.storage.manifests import Blob, Manifest

RELEASE_CELLS = {
    "publish": RELEASE_POINTS,
    "publish an old day": SHELF_POINTS,
    "rollback": RELEASE_POINTS,
    "gc": GC_POINTS,  # last: it removes what no later day needs, and the cells above do need
}
LOADED = ("u2q", "x2q")
KEPT_DAYS = 2


def references(world: World, names: set[str]) -> dict[str, Entry]:
    """What undisturbed runs append to the ledger: by "publish" and by "rollback"."""
    if not names & set(RELEASE_CELLS):
        return {}
    ctx = Context.open(world.settings)
    last = len(ctx.ledger.entries())
    log = world.logs / "undisturbed.log"
    found = {}
    for name, (work, *args) in _work(world, last).items():
        _rewind(world.settings, last - 1 if name == "publish" else last)
        assert children.run(log, work, *args) == 0, log.read_text()[-2000:]
        if name in ("publish", "rollback"):
            entry = Context.open(world.settings).ledger.current()
            assert entry is not None
            found[name] = entry
    _rewind(world.settings, last)
    return found


def _work(world: World, last: int) -> dict[str, tuple[Any, ...]]:
    return {
        "publish": (world.publish, world.settings, world.day),
        "rollback": (_rollback, world.settings, last - 1),
    }


def release_cell(world: World, cell: Cell, known: Mapping[str, Entry]) -> Outcome:
    """Run one cell of publish, rollback or gc; the world is afterwards what it was before."""
    if cell.stage == "gc":
        return _gc_cell(world, cell)
    if cell.stage == "publish an old day":
        return _shelf_cell(world, cell, known["publish"])
    settings, wanted = world.settings, known[cell.stage]
    last = known["publish"].number
    before = wanted.number - 1
    _rewind(settings, before)
    live = RELEASE_POINTS[RELEASE_POINTS.index("ledger") :]
    expected = before + (cell.point in live)

    def torn() -> None:
        check_served(settings, expected)

    outcome = killed_and_run_again(world, cell, torn, *_work(world, last)[cell.stage])
    ledger = check_served(settings, wanted.number)
    assert ledger[-1].to_bytes() == wanted.to_bytes()
    _check_expiry(settings, ledger[-1])
    _rewind(settings, last)
    return outcome


def _shelf_cell(world: World, cell: Cell, wanted: Entry) -> Outcome:
    """The day is published when a later one is live."""
    settings, last = world.settings, wanted.number
    _rewind(settings, last - 1)
    ctx = Context.open(settings)
    later = ctx.ledger.append(replace(wanted, day=wanted.day + timedelta(days=1)))
    load_indexes(ctx, later)

    def torn() -> None:
        check_served(settings, last)

    work = _work(world, last)["publish"]
    outcome = killed_and_run_again(world, cell, torn, *work)
    ledger = check_served(settings, last)
    assert ledger[-1] == later
    [kept] = Context.open(settings).ledger.shelf()
    assert replace(kept, number=last).to_bytes() == wanted.to_bytes()
    ctx.store.delete("shelf/00000001.json")
    ctx.store.delete(f"ledger/{last:08d}.json")
    ctx.store.put_once(f"ledger/{last:08d}.json", wanted.to_bytes())
    _rewind(settings, last)
    return outcome


def _gc_cell(world: World, cell: Cell) -> Outcome:
    ctx = Context.open(world.settings)
    assert children.run(world.logs / "gc.log", _collect, world.settings) == 0
    before = ctx.store.list("")
    _litter(ctx, world.day - timedelta(days=60))
    assert ctx.store.list("") != before

    def torn() -> None:
        """No manifest points at nothing, and nothing that is kept is gone."""
        held = set(ctx.store.list(""))
        assert set(before) <= held
        assert held != set(before)
        fresh = Context.open(world.settings).manifests
        for key in (key for key in held if key.startswith("manifests/")):
            for output in fresh.read(key).outputs.values():
                assert f"objects/{output.digest}" in held

    outcome = killed_and_run_again(world, cell, torn, _collect, world.settings)
    assert ctx.store.list("") == before
    return outcome


def _litter(ctx: Context, day: date) -> None:
    """Results that no release needs."""
    for number in range(3):
        files = {f"{n}.txt": f"{number} {n}".encode() for n in range(4)}
        outputs = {name: Blob(ctx.store.put_blob(data), len(data)) for name, data in files.items()}
        ctx.manifests.create(Manifest(stage=f"litter-{number}", day=day, outputs=outputs))


def _rollback(settings: Settings, number: int) -> None:
    rollback(Context.open(settings), number, "chaos", "chaos")


def _collect(settings: Settings) -> None:
    collect(Context.open(settings), KEPT_DAYS, grace_hours=0, dry=False)


def _rewind(settings: Settings, number: int) -> None:
    """Back to the moment when release `number` was the newest: the ledger, and what Valkey has."""
    ctx = Context.open(settings)
    for entry in ctx.ledger.entries()[number:]:
        ctx.store.delete(f"ledger/{entry.number:08d}.json")
    with connect(settings.valkey.url) as client:
        client.flushdb()
    load_indexes(ctx, ctx.ledger.entry(number))


def check_served(settings: Settings, count: int) -> list[Entry]:
    """The ledger has `count` entries, and Valkey all that the last one serves."""
    ctx = Context.open(settings)
    ledger = ctx.ledger.entries()
    assert [entry.number for entry in ledger] == list(range(1, count + 1))
    entry = ledger[-1]
    lists, index = (table(ctx, ctx.manifests.get(entry.models[kind]), kind) for kind in LOADED)
    with connect(settings.valkey.url) as client:
        for user, rows in lists.groupby("user_id"):
            own = get_u2q(client, version_of(entry.models["u2q"]), user)
            assert own is not None
            assert [query for query, _ in own.queries] == rows["query"].tolist()
        triggers = index["trigger"].unique().tolist()
        found = lookup_x2q(client, version_of(entry.models["x2q"]), triggers)
        assert all(found[trigger] for trigger in triggers)
    return ledger


def _check_expiry(settings: Settings, live: Entry) -> None:
    """Of the versions in Valkey the live one stays, and every key of the others expires."""
    current = tuple(f"{kind}:{version_of(live.models[kind])}" for kind in LOADED)
    with connect(settings.valkey.url) as client:
        for key in client.scan_iter():
            stays = key in LOADED or key.startswith(current)
            assert (client.ttl(key) == -1) == stays, key
