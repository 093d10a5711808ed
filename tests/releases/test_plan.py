"""`aigq plan`, and the day that is out of date when it comes to publish; real S3 and Valkey, the
stages' own inputs, tiny computations (tests/tiny_aigq.py)."""

from dataclasses import replace
from datetime import date, timedelta

import pytest
import tiny_aigq

from aigq_tasks.errors import AigqError
from aigq_tasks.pipeline.context import Context
from aigq_tasks.releases.approval import decline
from aigq_tasks.releases.plan import plan
from aigq_tasks.releases.publish import publish
from aigq_tasks.releases.rollback import rollback
from aigq_tasks.settings import Settings
from aigq_tasks.storage.manifests import Blob

pytestmark = pytest.mark.integration
EVE = date(2017, 11, 5)
FIRST, SECOND, THIRD = (EVE + timedelta(days=n) for n in (1, 2, 3))


@pytest.fixture
def started(settings: Settings) -> Context:
    """A bucket with the release that the first day starts from."""
    small = {"bootstrap_day": EVE, "launch_days": 0, "history_days": 2}
    ctx = Context.open(settings.model_copy(update=small))
    tiny_aigq.bootstrap(ctx)
    return ctx


def due(ctx: Context, first: date, last: date) -> dict[tuple[date, str], str]:
    return {(step.day, step.stage): step.why for step in plan(ctx, first, last) if step.why}


def test_a_range_that_was_never_run_and_one_with_a_hole_before_it(started: Context) -> None:
    found = due(started, FIRST, SECOND)
    assert found[FIRST, "logs"] == "it never ran"
    assert found[FIRST, "ctr"] == "logs would run"
    assert found[FIRST, "publish"] == "goes live"
    assert found[SECOND, "logs"] == f"it starts from the release of {FIRST}, which changes"
    steps = {(step.day, step.stage): step for step in plan(started, FIRST, SECOND)}
    of_their_own = {key for key, step in steps.items() if not step.follows and not step.release}
    assert of_their_own == {(FIRST, "logs"), *(key for key in steps if key[0] == SECOND)} - {
        (SECOND, "publish")
    }
    [stopped] = plan(started, SECOND, THIRD)
    assert (stopped.day, stopped.stage, stopped.blocked) == (SECOND, "logs", True)
    assert stopped.why.startswith(f"logs of {FIRST} is missing")
    with pytest.raises(AigqError, match=f"--from {SECOND} lies after --to {FIRST}"):
        plan(started, SECOND, FIRST)


def test_a_day_that_was_never_published_is_due(started: Context) -> None:
    tiny_aigq.run_day(started, FIRST)
    assert due(started, FIRST, FIRST) == {(FIRST, "publish"): "goes live"}
    tiny_aigq.run(started, "publish", FIRST)
    assert due(started, FIRST, FIRST) == {}
    tiny_aigq.run_day(started, SECOND)
    tiny_aigq.run(started, "publish", SECOND)

    # Another gate: the old day is computed again, and only its release is still to come.
    gate = started.settings.gate.model_copy(update={"max_drop": 0.5})
    lenient = replace(started, settings=started.settings.model_copy(update={"gate": gate}))
    assert due(lenient, FIRST, FIRST) == {
        (FIRST, "gate"): "changed: setting limits.max_drop",
        (FIRST, "u2q"): "gate would run",
        (FIRST, "servable"): "u2q would run",
        (FIRST, "publish"): f"shelved: {SECOND} is live",
    }
    tiny_aigq.run_day(lenient, FIRST)
    assert due(lenient, FIRST, FIRST) == {(FIRST, "publish"): f"shelved: {SECOND} is live"}
    tiny_aigq.run(lenient, "publish", FIRST)
    assert due(lenient, FIRST, FIRST) == {}


def test_another_trial_of_the_same_models_is_another_release(started: Context) -> None:
    """`plan` and `publish` mean the same by "released"."""
    tiny_aigq.run_day(started, FIRST)
    tiny_aigq.run(started, "publish", FIRST)
    trial = started.settings.servable.model_copy(update={"canaries": 3})
    other = replace(started, settings=started.settings.model_copy(update={"servable": trial}))
    tiny_aigq.run_day(other, FIRST)
    assert due(other, FIRST, FIRST) == {(FIRST, "publish"): "goes live"}
    tiny_aigq.run(other, "publish", FIRST)
    before, after = other.ledger.entries()[-2:]
    assert (after.number, after.models) == (before.number + 1, before.models)
    assert due(other, FIRST, FIRST) == {}


def test_a_rollback_in_the_middle_of_a_day_is_not_undone_by_it(started: Context) -> None:
    for day in (FIRST, SECOND):
        tiny_aigq.run_day(started, day)
        tiny_aigq.run(started, "publish", day)
    tiny_aigq.run_day(started, THIRD)
    back = rollback(started, 2, "ann", "clicks fell")
    stale = f"logs of {THIRD} is out of date .changed: input release, .*: run the day again"
    with pytest.raises(AigqError, match=stale):
        tiny_aigq.run(started, "publish", THIRD)
    assert started.ledger.current() == back
    tiny_aigq.run_day(started, THIRD)  # again, from what is served now
    tiny_aigq.run(started, "publish", THIRD)
    current = started.ledger.current()
    assert current is not None
    assert (current.day, current.parent) == (THIRD, back.number)


def test_a_released_day_is_published_again_without_a_word_about_what_changed_since(
    started: Context, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_aigq.run_day(started, FIRST)
    tiny_aigq.run(started, "publish", FIRST)
    head = started.manifests.head("logs", EVE)
    assert head is not None
    late = {"late": Blob(started.store.put_blob(b"late rows"), len(b"late rows"))}
    started.manifests.create(replace(head, outputs=late))
    capsys.readouterr()
    tiny_aigq.run(started, "publish", FIRST)
    said = capsys.readouterr().out.splitlines()
    # What it says of MLflow's models depends on the tests before: the server is one for all.
    own = [line for line in said if not line.startswith("MLflow has no version of ")]
    assert own == [f"publish {FIRST}: up to date (release 2)"]


def test_who_declined_a_release_may_approve_it_after_all(started: Context) -> None:
    parent = started.ledger.current()
    assert parent is not None
    tiny_aigq.run_day(started, FIRST)
    declined = decline(started, FIRST, "ada", "lists look odd")
    assert declined.models == parent.models
    released = publish(
        started, FIRST, "ann", "test"
    )  # `approve` was cleared, and answered with yes
    assert (released.number, released.verdict) == (declined.number + 1, "accepted")
    assert released.parent == parent.number  # the day's own rejection is no parent of it
    policy = started.manifests.head("policy", FIRST)
    assert policy is not None
    assert released.models["direct"] == policy.digest
