"""A branch of a real bucket: what it sees, what it keeps to itself, and that nothing of it is
collected."""

from dataclasses import replace
from datetime import date, timedelta

import pytest

from aigq_tasks.errors import AigqError
from aigq_tasks.pipeline.context import Context
from aigq_tasks.releases.gc import collect
from aigq_tasks.storage.branch import Branch, branch_names
from aigq_tasks.storage.ledger import Entry, Ledger
from aigq_tasks.storage.manifests import Blob, Manifest, Manifests
from aigq_tasks.storage.objects import ObjectStore

DAY = date(2017, 11, 6)
EVE, NEXT = DAY - timedelta(days=1), DAY + timedelta(days=1)


def made(store: ObjectStore, day: date, words: bytes) -> Manifest:
    """A result of the stage "ctr" that holds the words."""
    blob = Blob(store.put_blob(words), len(words))
    return Manifests(store).create(Manifest(stage="ctr", day=day, outputs={"model.txt": blob}))


def entry(day: date, manifest: Manifest) -> Entry:
    return Entry(
        day=day,
        revision=1,
        parent=None,
        manifests={"ctr": manifest.digest},
        models={"ctr": manifest.digest},
        verdict="accepted",
        code="c",
        config="d",
        who="w",
        why="test",
    )


@pytest.fixture
def trunk(store: ObjectStore) -> ObjectStore:
    """Releases of DAY - 1 and DAY; the branch goes off on DAY, from the first."""
    for day in (EVE, DAY):
        Ledger(store).append(entry(day, made(store, day, f"trunk {day}".encode())))
    return store


def test_it_sees_the_days_before_and_nothing_later(trunk: ObjectStore) -> None:
    branch = Branch.begin(trunk, "ab/one-1", DAY, last_entry=1)
    assert Manifests(branch).head("ctr", EVE) == Manifests(trunk).head("ctr", EVE)
    assert Manifests(branch).head("ctr", DAY) is None
    assert list(Manifests(branch).heads("ctr", [EVE, DAY])) == [EVE]
    assert [own.day for own in Ledger(branch).entries()] == [EVE]


def test_what_is_made_on_it_nobody_else_sees(trunk: ObjectStore) -> None:
    one, other = (Branch.begin(trunk, f"ab/{name}-1", DAY, 1) for name in ("one", "other"))
    before = (trunk.list("manifests/"), trunk.list("ledger/"))
    own = made(one, DAY, b"of the branch")
    Ledger(one).append(entry(DAY, own))
    assert Manifests(one).head("ctr", DAY) == own
    assert Manifests(one).get(own.digest) == own
    assert Ledger(one).parent_of(NEXT) == Ledger(one).current()
    assert (trunk.list("manifests/"), trunk.list("ledger/")) == before
    assert Manifests(other).head("ctr", DAY) is None
    assert len(Ledger(other).entries()) == 1
    # A day before the branch is the trunk's: whoever brings it anew makes a further revision.
    assert made(one, EVE, b"anew").revision == 2
    head = Manifests(trunk).head("ctr", EVE)
    assert head is not None
    assert head.revision == 1


def test_it_goes_on_from_where_it_went_off(trunk: ObjectStore) -> None:
    Branch.begin(trunk, "ab/one-1", DAY, 1)
    again = Branch.begin(trunk, "ab/one-1", DAY, 2)
    assert (again.first, again.last_entry) == (DAY, 1)
    assert branch_names(trunk) == ["ab/one-1"]
    with pytest.raises(AigqError, match="begins on 2017-11-06, not 2017-11-07"):
        Branch.begin(trunk, "ab/one-1", NEXT, 2)
    with pytest.raises(AigqError, match="there is no branch ab/two"):
        Branch.open(trunk, "ab/two")
    with pytest.raises(ValueError, match="nothing is deleted"):
        again.delete("manifests/ctr/2017-11-06/0001.json")


def test_nothing_of_it_is_collected(ctx: Context, trunk: ObjectStore) -> None:
    own = replace(ctx, store=trunk, manifests=Manifests(trunk), ledger=Ledger(trunk))
    branch = Branch.begin(trunk, "ab/one-1", DAY, 1)
    Ledger(branch).append(entry(DAY, made(branch, DAY, b"of the branch")))
    trunk.put_blob(b"nobody's")
    gone = collect(own, days=1, grace_hours=0, dry=False)
    assert gone.objects >= 1
    head = Manifests(branch).head("ctr", DAY)
    assert head is not None
    assert branch.get_blob(head.outputs["model.txt"].digest) == b"of the branch"
    assert Ledger(branch).entries()[-1].day == DAY
