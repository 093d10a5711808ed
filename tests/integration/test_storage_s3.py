"""Objects, manifests and ledger on a real S3 server (SeaweedFS), with races and faults."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date
from functools import partial
from typing import TypeVar

import pytest
from fault_proxy import Fault, FaultProxy, fault_proxy
from servers import S3Server, free_ports

from aigq_tasks.errors import AigqError
from aigq_tasks.storage import objects
from aigq_tasks.storage.ledger import Entry, Ledger, LedgerConflict
from aigq_tasks.storage.manifests import Blob, Manifest, Manifests
from aigq_tasks.storage.objects import ObjectStore, blob_key

pytestmark = pytest.mark.integration
WRITERS = 8
NOT_CARRIED_OUT: list[Fault] = ["lose request", "503", "409"]
DAY = date(2017, 11, 6)
A = TypeVar("A")
T = TypeVar("T")


def entry(day: date, why: str = "test", model: str = "m") -> Entry:
    return Entry(
        day=day,
        revision=1,
        parent=None,
        models={"direct": model},
        verdict="accepted",
        code="c",
        config="d",
        who="w",
        why=why,
    )


def race(write: Callable[[ObjectStore, A], T], stores: list[ObjectStore], what: list[A]) -> list[T]:
    """Call `write` with each store and its item at the same moment, in a thread each."""
    gate = threading.Barrier(len(stores))

    def at_once(store: ObjectStore, item: A) -> T:
        gate.wait()
        return write(store, item)

    with ThreadPoolExecutor(len(stores)) as pool:
        return list(pool.map(at_once, stores, what))


@pytest.fixture
def rivals(store: ObjectStore, s3_server: S3Server) -> list[ObjectStore]:
    """Eight clients with connections of their own, as eight processes would have."""
    keys = (s3_server.access_key, s3_server.secret_key)
    return [ObjectStore(store.url, store.bucket, *keys) for _ in range(WRITERS)]


@pytest.fixture
def proxy(s3_server: S3Server) -> Iterator[FaultProxy]:
    with fault_proxy(s3_server.url) as running:
        yield running


@pytest.fixture
def faulty(proxy: FaultProxy, s3_server: S3Server, bucket: str) -> ObjectStore:
    """A store whose PUTs meet the proxy's faults; its bucket exists."""
    faulty = ObjectStore(proxy.url, bucket, s3_server.access_key, s3_server.secret_key)
    faulty.put_once("first", b"")
    proxy.puts = 0
    return faulty


def test_a_missing_bucket_reads_as_empty_and_is_created_by_the_first_write(
    store: ObjectStore,
) -> None:
    store.ping()
    assert store.get("a") is None
    assert store.list("") == []
    assert store.put_once("a", b"1")
    assert store.get("a") == b"1"


def test_put_once_keeps_the_first_bytes(store: ObjectStore) -> None:
    assert store.put_once("a", b"first")
    assert not store.put_once("a", b"second")
    assert not store.put_once("a", b"first")
    assert store.get("a") == b"first"


def test_list_is_sorted_goes_past_one_page_and_keeps_to_the_prefix(store: ObjectStore) -> None:
    names = [f"many/{number:04d}" for number in range(1001)]  # a page holds 1,000 keys
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda name: store.put_once(name, b"x"), [*reversed(names), "other"]))
    assert store.list("many/") == names
    assert store.list("many/000") == names[:10]
    assert store.list("none/") == []


def test_blobs_are_checked_against_their_digest(store: ObjectStore) -> None:
    # SHA-256 of the empty string, as FIPS 180-4 test vectors give it.
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert store.put_blob(b"") == empty
    assert store.put_blob(b"") == empty
    assert store.get_blob(empty) == b""
    with pytest.raises(AigqError, match="is not in bucket"):
        store.get_blob("0" * 64)
    store.put_once(blob_key("1" * 64), b"not what the digest says")
    with pytest.raises(AigqError, match="is damaged"):
        store.get_blob("1" * 64)


def test_every_race_for_a_key_has_exactly_one_winner(rivals: list[ObjectStore]) -> None:
    names = [b"%d" % number for number in range(WRITERS)]
    for number in range(12):  # SeaweedFS lets losers wait in steps of one second
        key = f"race/{number}"
        won = race(partial(put_under, key), rivals, names)
        assert won.count(True) == 1
        assert rivals[0].get(key) == names[won.index(True)]


def put_under(key: str, store: ObjectStore, data: bytes) -> bool:
    return store.put_once(key, data)


def test_bucket_creation_survives_a_race(rivals: list[ObjectStore]) -> None:
    keys = [f"k{number}" for number in range(WRITERS)]
    assert all(race(lambda store, key: store.put_once(key, b"x"), rivals, keys))
    assert rivals[0].list("") == keys


def test_a_lost_response_is_recognised_as_my_own_write(
    faulty: ObjectStore, proxy: FaultProxy
) -> None:
    proxy.plan.extend(["lose response"])
    assert faulty.put_once("a", b"mine")
    assert proxy.puts == 2  # the first reached S3 unseen, the second got 412
    assert faulty.get("a") == b"mine"


def test_a_lost_response_does_not_claim_the_bytes_of_another(
    faulty: ObjectStore, store: ObjectStore, proxy: FaultProxy
) -> None:
    store.put_once("a", b"theirs")
    proxy.plan.extend(["lose response"])
    assert not faulty.put_once("a", b"mine")
    assert store.get("a") == b"theirs"


@pytest.mark.parametrize("fault", NOT_CARRIED_OUT)
def test_a_request_that_was_not_carried_out_is_sent_again(
    faulty: ObjectStore, proxy: FaultProxy, fault: Fault
) -> None:
    proxy.plan.extend([fault, fault])
    assert faulty.put_once("a", b"mine")
    assert proxy.puts == 3
    assert faulty.get("a") == b"mine"


def test_409_on_a_key_that_is_taken_means_somebody_else_has_it(
    faulty: ObjectStore, store: ObjectStore, proxy: FaultProxy
) -> None:
    store.put_once("a", b"mine")  # the same bytes, yet not written by this call
    proxy.plan.extend(["409"])
    assert not faulty.put_once("a", b"mine")
    assert proxy.puts == 1


def test_an_absent_server_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"http://127.0.0.1:{free_ports(1)[0]}"
    absent = ObjectStore(url, "bucket", "key", "secret")
    monkeypatch.setattr(objects, "RETRY_SECONDS", 0.3)
    line = f"S3 does not answer at {url}: start the services with 'make up'"
    for call in (absent.ping, lambda: absent.get("a"), lambda: absent.put_once("a", b"")):
        with pytest.raises(AigqError) as caught:
            call()
        assert str(caught.value) == line


def test_wrong_keys_are_named(s3_server: S3Server, bucket: str) -> None:
    store = ObjectStore(s3_server.url, bucket, s3_server.access_key, "wrong")
    for call in (store.ping, lambda: store.put_once("a", b"")):
        with pytest.raises(AigqError, match="refuses the keys"):
            call()


def test_manifest_revisions(store: ObjectStore) -> None:
    manifests = Manifests(store)
    first = Manifest(stage="ctr", day=DAY, outputs={"model.txt": Blob("a" * 64, 3)})
    other = replace(first, metrics={"auc": 0.7})
    assert manifests.head("ctr", DAY) is None
    assert manifests.create(first) == first
    assert manifests.create(first) == first  # same content: nothing new
    assert manifests.create(other) == replace(other, revision=2)
    assert manifests.head("ctr", DAY) == replace(other, revision=2)
    assert manifests.create(first) == replace(first, revision=3)  # back to A is a new head
    assert store.list("manifests/") == [
        f"manifests/ctr/2017-11-06/000{revision}.json" for revision in (1, 2, 3)
    ]
    assert manifests.get(first.digest) == first
    assert manifests.head("ctr", date(2017, 11, 7)) is None
    ctr_2 = manifests.create(Manifest(stage="ctr2", day=DAY))  # its name begins like the other's
    days = [DAY, date(2017, 11, 7)]
    assert manifests.heads("ctr", days) == {DAY: replace(first, revision=3)}
    assert manifests.heads("ctr2", days) == {DAY: ctr_2}
    assert manifests.heads("gate", days) == {}


def test_many_manifests_are_read_by_their_digests(store: ObjectStore) -> None:
    made = [Manifests(store).create(Manifest(stage=name, day=DAY)) for name in ("ctr", "gate")]
    digests = [manifest.digest for manifest in made]
    reader = Manifests(store)
    assert reader.get_all([*digests, digests[0]]) == dict(zip(digests, made, strict=True))
    store.delete(blob_key(digests[0]))
    assert reader.get(digests[0]) == made[0]  # it was checked once
    with pytest.raises(AigqError, match=f"object {digests[0]} is not in bucket"):
        Manifests(store).get_all(digests)


def test_a_frozen_view_sees_what_there_was_when_it_was_first_asked(store: ObjectStore) -> None:
    manifests = Manifests(store)
    first = manifests.create(Manifest(stage="ctr", day=DAY))
    view = manifests.frozen()
    assert view.heads("ctr", [DAY]) == {DAY: first}
    assert view.head("ctr", DAY) == first
    second = manifests.create(Manifest(stage="ctr", day=DAY, version="2"))
    assert view.heads("ctr", [DAY]) == {DAY: first}
    assert view.head("ctr", DAY) == first
    assert manifests.head("ctr", DAY) == manifests.frozen().head("ctr", DAY) == second


def create(store: ObjectStore, manifest: Manifest) -> Manifest:
    return Manifests(store).create(manifest)


def test_a_race_of_equal_manifests_makes_one_and_of_different_ones_makes_all(
    rivals: list[ObjectStore],
) -> None:
    same = Manifest(stage="equal", day=DAY)
    made = race(create, rivals, [same] * WRITERS)
    assert made == [same] * WRITERS
    assert len(rivals[0].list("manifests/equal/")) == 1

    different = [Manifest(stage="other", day=DAY, metrics={"n": n}) for n in range(WRITERS)]
    made = race(create, rivals, different)
    assert sorted(manifest.revision for manifest in made) == list(range(1, WRITERS + 1))
    assert [manifest.metrics["n"] for manifest in made] == list(range(WRITERS))


def test_ledger_races_leave_no_gap_and_lose_no_entry(rivals: list[ObjectStore]) -> None:
    appends = 6

    def append_some(rival: ObjectStore, who: int) -> list[Entry]:
        ledger = Ledger(rival)
        whys = [f"{who}-{n}" for n in range(appends)]
        return [ledger.append(entry(DAY, why=why, model=why)) for why in whys]

    written = race(append_some, rivals, list(range(WRITERS)))
    held = Ledger(rivals[0]).entries()
    assert [e.number for e in held] == list(range(1, WRITERS * appends + 1))
    assert Counter(e.why for e in held) == Counter(e.why for es in written for e in es)
    assert sorted((e for es in written for e in es), key=lambda e: e.number) == held
    assert all(es == sorted(es, key=lambda e: e.number) for es in written)


def test_who_releases_the_very_same_at_once_makes_one_entry(rivals: list[ObjectStore]) -> None:
    for number in range(1, 11):

        def append(rival: ObjectStore, who: int, model: str = f"m{number}") -> Entry:
            return Ledger(rival).append(entry(DAY, why=f"{who}", model=model))

        made = race(append, rivals, list(range(WRITERS)))
        assert {one.number for one in made} == {number}


def test_an_older_day_does_not_go_live(store: ObjectStore) -> None:
    ledger = Ledger(store)
    assert ledger.current() is None
    assert ledger.live_on(DAY) is None
    first = ledger.append(entry(DAY))
    assert first.number == 1
    with pytest.raises(LedgerConflict, match="2017-11-05 cannot go live: entry 1 already"):
        ledger.append(entry(date(2017, 11, 5)))
    second = ledger.append(entry(DAY, why="same day, corrected", model="n"))
    assert Ledger(store).entries() == [first, second]
    assert Ledger(store).current() == second
    assert ledger.live_on(DAY) is None
    assert ledger.live_on(date(2017, 11, 7)) == second


def test_a_racer_of_an_older_day_stops_at_the_newer_entry(
    rivals: list[ObjectStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newer day is appended after the older one's look at the head, before its write."""
    older, newer = Ledger(rivals[0]), Ledger(rivals[1])
    look = older.current

    def look_then_lose() -> Entry | None:
        head = look()
        newer.append(entry(DAY))
        return head

    monkeypatch.setattr(older, "current", look_then_lose)
    with pytest.raises(LedgerConflict):
        older.append(entry(date(2017, 11, 5)))
    assert [e.day for e in newer.entries()] == [DAY]


def test_a_missing_ledger_entry_is_reported(store: ObjectStore) -> None:
    first = entry(DAY)
    store.put_once("ledger/00000001.json", replace(first, number=1).to_bytes())
    store.put_once("ledger/00000003.json", replace(first, number=3).to_bytes())
    with pytest.raises(AigqError, match=r"ledger/00000002\.json is missing"):
        Ledger(store).entries()
