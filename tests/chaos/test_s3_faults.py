"""Manifests and ledger through a proxy that fails on order: 409, 412, 503, requests and answers
that are lost, an answer that never comes although the write landed."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import date

import pytest
from fault_proxy import Fault, FaultProxy, fault_proxy
from servers import S3Server

from aigq_tasks.storage import objects
from aigq_tasks.storage.ledger import Entry, Ledger
from aigq_tasks.storage.manifests import Manifest, Manifests
from aigq_tasks.storage.objects import ObjectStore

pytestmark = pytest.mark.integration
FAULTS: list[Fault] = ["409", "412", "503", "lose request", "lose response", "hang"]
DAY = date(2017, 11, 6)
ENTRY = Entry(
    day=DAY, revision=1, parent=None, verdict="accepted", code="c", config="d", who="me", why="test"
)
MANIFEST = Manifest(stage="ctr", day=DAY, metrics={"auc": 0.7})


@pytest.fixture
def proxy(s3_server: S3Server) -> Iterator[FaultProxy]:
    with fault_proxy(s3_server.url) as running:
        yield running


@pytest.fixture
def faulty(
    proxy: FaultProxy, s3_server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> ObjectStore:
    """A store whose PUTs meet the proxy's faults; its bucket exists."""
    monkeypatch.setattr(objects, "READ_SECONDS", 0.5)  # below what the proxy hangs
    faulty = ObjectStore(proxy.url, bucket, s3_server.access_key, s3_server.secret_key)
    faulty.put_once("first", b"")
    return faulty


@pytest.mark.parametrize("fault", FAULTS)
def test_a_write_that_met_a_fault_is_there_once(
    faulty: ObjectStore, store: ObjectStore, proxy: FaultProxy, fault: Fault
) -> None:
    proxy.plan.append(fault)
    assert faulty.put_once("a", b"mine")
    proxy.plan.append(fault)
    assert store.get_blob(faulty.put_blob(b"blob")) == b"blob"
    proxy.plan.append(fault)
    entry = Ledger(faulty).append(ENTRY)
    assert Ledger(store).entries() == [entry] == [replace(ENTRY, number=1)]
    proxy.plan.extend([fault, fault])  # the body, and the name that makes it a result
    made = Manifests(faulty).create(MANIFEST)
    assert made == MANIFEST
    assert store.list("manifests/") == [f"manifests/ctr/{DAY}/0001.json"]
    assert Manifests(store).get(made.digest) == made
    assert not proxy.plan


@pytest.mark.parametrize("fault", FAULTS)
def test_who_meets_a_fault_and_a_rival_takes_the_next_number(
    faulty: ObjectStore,
    store: ObjectStore,
    proxy: FaultProxy,
    fault: Fault,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The rival writes after my look at the head, before my own write."""
    theirs, other = replace(ENTRY, models={"ctr": "b"}), replace(MANIFEST, metrics={"auc": 0.6})
    ledger, manifests = Ledger(faulty), Manifests(faulty)
    monkeypatch.setattr(ledger, "current", lambda: Ledger(store).append(theirs) and None)
    proxy.plan.append(fault)
    assert ledger.append(ENTRY).number == 2
    assert [entry.models for entry in Ledger(store).entries()] == [theirs.models, ENTRY.models]
    monkeypatch.setattr(manifests, "head", lambda *_: Manifests(store).create(other) and None)
    proxy.plan.extend([fault, fault])
    assert manifests.create(MANIFEST) == replace(MANIFEST, revision=2)
    assert len(store.list("manifests/")) == 2


@pytest.mark.parametrize("fault", FAULTS)
def test_two_who_write_the_same_make_one(
    faulty: ObjectStore,
    store: ObjectStore,
    proxy: FaultProxy,
    fault: Fault,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ledger, manifests = Ledger(faulty), Manifests(faulty)
    theirs = replace(ENTRY, who="rival")
    monkeypatch.setattr(ledger, "current", lambda: Ledger(store).append(theirs) and None)
    proxy.plan.append(fault)
    assert [ledger.append(ENTRY)] == Ledger(store).entries() == [replace(theirs, number=1)]
    monkeypatch.setattr(manifests, "head", lambda *_: Manifests(store).create(MANIFEST) and None)
    proxy.plan.extend([fault, fault])
    assert manifests.create(MANIFEST) == MANIFEST
    assert store.list("manifests/") == [f"manifests/ctr/{DAY}/0001.json"]
