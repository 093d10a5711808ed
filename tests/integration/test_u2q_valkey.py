"""u2q versions in a real Valkey: complete or invisible, and old ones expire."""

from collections.abc import Iterator
from datetime import date

import pytest
from servers import free_ports, valkey_server
from valkey import Valkey

from aigq_tasks.errors import AigqError
from aigq_tasks.recall import u2q
from aigq_tasks.serving import indexes
from aigq_tasks.serving.indexes import CachedList

pytestmark = pytest.mark.integration
DAY = date(2025, 3, 3)
DAY_S = 86_400
ENTRIES = u2q.build({"ann": ["tea", "jam"], "bob": ["ham"]}, DAY)


@pytest.fixture(scope="module")
def own_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of this module's own: a load expires other versions, and `client` flushes."""
    with valkey_server(tmp_path_factory.mktemp("valkey")) as url:
        yield url


@pytest.fixture
def client(own_url: str) -> Iterator[Valkey]:
    with indexes.connect(own_url) as client:
        client.flushdb()
        yield client


def test_a_loaded_version_answers(client: Valkey) -> None:
    assert indexes.load_u2q(client, "v1", ENTRIES) == 2
    assert indexes.get_u2q(client, "v1", "ann") == CachedList(
        "2025-03-03", [("tea", 1.0), ("jam", 0.5)]
    )
    assert indexes.get_u2q(client, "v1", "nobody") is None
    assert client.ttl("u2q:v1:ann") == client.ttl("u2q:v1") == -1  # the live version stays


def test_versions_do_not_mix(client: Valkey) -> None:
    indexes.load_u2q(client, "v1", ENTRIES)
    indexes.load_u2q(client, "v2", u2q.build({"ann": ["milk"]}, DAY))
    assert indexes.get_u2q(client, "v1", "bob") == CachedList("2025-03-03", [("ham", 1.0)])
    assert indexes.get_u2q(client, "v2", "bob") is None
    assert indexes.get_u2q(client, "v2", "ann") == CachedList("2025-03-03", [("milk", 1.0)])


def test_a_version_without_its_marker_is_not_there(client: Valkey) -> None:
    indexes.load_u2q(client, "v1", ENTRIES)
    client.delete("u2q:v1")  # as if the load had been cut off before its last write
    with pytest.raises(AigqError, match="u2q v1 is not loaded"):
        indexes.get_u2q(client, "v1", "ann")
    # Another version does not touch what may be loading, and loading again makes it whole.
    indexes.load_u2q(client, "v2", ENTRIES)
    indexes.retire_others(client, "u2q", "v2", 7)
    assert client.ttl("u2q:v1:ann") == -1
    assert indexes.load_u2q(client, "v1", ENTRIES) == 2
    assert indexes.get_u2q(client, "v1", "bob") is not None


def test_loading_again_writes_nothing(client: Valkey) -> None:
    indexes.load_u2q(client, "v1", ENTRIES)
    client.set("u2q:v1:ann", '{"day": "1999-01-01", "queries": []}')
    assert indexes.load_u2q(client, "v1", ENTRIES) == 0
    assert indexes.get_u2q(client, "v1", "ann") == CachedList("1999-01-01", [])


def test_old_versions_expire_once_and_the_marker_first(client: Valkey) -> None:
    indexes.load_u2q(client, "v1", ENTRIES)
    indexes.load_u2q(client, "v2", ENTRIES)
    indexes.retire_others(client, "u2q", "v2", 7)
    assert 7 * DAY_S - 60 < client.ttl("u2q:v1:ann") <= 7 * DAY_S
    assert client.expiretime("u2q:v1") <= client.expiretime("u2q:v1:bob")
    before = client.pexpiretime("u2q:v1:ann")
    indexes.load_u2q(client, "v3", ENTRIES)
    indexes.retire_others(client, "u2q", "v3", 30)
    assert client.pexpiretime("u2q:v1:ann") == before  # a later release does not postpone it
    assert client.ttl("u2q:v2:ann") > 7 * DAY_S


def test_a_cut_off_retirement_is_finished_by_the_next_load(client: Valkey) -> None:
    indexes.load_u2q(client, "v1", ENTRIES)
    client.expire("u2q:v1", 100)  # the marker only
    indexes.load_u2q(client, "v2", ENTRIES)
    indexes.retire_others(client, "u2q", "v2", 7)
    assert client.ttl("u2q:v1") <= 100
    assert client.ttl("u2q:v1:ann") > 0


def test_a_rollback_takes_the_expiry_back(client: Valkey) -> None:
    indexes.load_u2q(client, "v1", ENTRIES)
    indexes.load_u2q(client, "v2", ENTRIES)
    indexes.retire_others(client, "u2q", "v2", 7)
    assert indexes.load_u2q(client, "v1", ENTRIES) == 2
    indexes.retire_others(client, "u2q", "v1", 7)
    assert client.ttl("u2q:v1") == client.ttl("u2q:v1:ann") == -1
    assert client.ttl("u2q:v2") > 0
    # And it can be retired again.
    indexes.load_u2q(client, "v2", ENTRIES)
    indexes.retire_others(client, "u2q", "v2", 7)
    assert client.ttl("u2q:v1") > 0


def test_expired_lists_are_gone(client: Valkey) -> None:
    indexes.load_u2q(client, "v1", ENTRIES)
    indexes.load_u2q(client, "v2", ENTRIES)
    indexes.retire_others(client, "u2q", "v2", 0)  # 0 days more: at once
    with pytest.raises(AigqError, match="publish that release again"):
        indexes.get_u2q(client, "v1", "ann")
    assert client.keys("u2q:v1*") == []
    assert indexes.get_u2q(client, "v2", "ann") is not None


def test_many_users_are_loaded_in_batches(client: Valkey) -> None:
    many = u2q.build({f"user{i:05d}": ["tea"] for i in range(2501)}, DAY)
    assert indexes.load_u2q(client, "v1", many) == 2501
    assert len(client.keys("u2q:v1:*")) == 2501
    assert indexes.get_u2q(client, "v1", "user02500") is not None


def test_nobody_there_is_one_clear_line() -> None:
    (port,) = free_ports(1)
    url = f"redis://127.0.0.1:{port}/0"
    line = pytest.raises(AigqError, match=f"Valkey does not answer at {url}")
    with line, indexes.connect(url):
        pass
