"""An update that starts anew: its release, and what people are told; real S3 and Valkey, the
stages' own inputs, tiny computations (tests/tiny_aigq.py)."""

from dataclasses import replace
from datetime import date, timedelta

import pytest
import tiny_aigq
from pydantic import SecretStr

from aigq_tasks.pipeline.context import Context
from aigq_tasks.pipeline.lines import GO_BACK
from aigq_tasks.pipeline.reading import need
from aigq_tasks.releases.aliases import parent_of
from aigq_tasks.releases.approval import decline
from aigq_tasks.releases.publish import publish
from aigq_tasks.releases.rollback import rollback
from aigq_tasks.services.proposals import proposal, propose_rollback
from aigq_tasks.settings import AlertSettings, Settings
from aigq_tasks.storage.canonical import to_json
from aigq_tasks.storage.ledger import Entry
from aigq_tasks.storage.manifests import Blob

pytestmark = pytest.mark.integration
EVE = date(2017, 11, 5)
FIRST, SECOND, THIRD, FOURTH = (EVE + timedelta(days=n) for n in (1, 2, 3, 4))
WORDS = ["the champion lies below IL-SFT: Query HR@30 -0.0400 [-0.0700, -0.0100]", "and so on"]


@pytest.fixture
def started(settings: Settings) -> Context:
    """A bucket in which the first day is released, as release 2."""
    small = {"bootstrap_day": EVE, "launch_days": 0, "history_days": 2}
    ctx = Context.open(settings.model_copy(update=small))
    tiny_aigq.bootstrap(ctx)
    released(ctx, FIRST)
    return ctx


def released(ctx: Context, day: date) -> Entry:
    tiny_aigq.run_day(ctx, day)
    return publish(ctx, day, "test", "daily run")


def below(ctx: Context, day: date, accepted: bool) -> None:
    """Run the day; its gate finds the champion below IL-SFT."""
    tiny_aigq.run_day(ctx, day)
    verdict = {"accepted": accepted, "ctr_faults": [], "anchors": {"words": WORDS}}
    data = to_json(verdict)
    outputs = {"verdict.json": Blob(ctx.store.put_blob(data), len(data))}
    metrics: dict[str, float | str] = {GO_BACK: need(ctx, "sft", EVE).digest}
    ctx.manifests.create(replace(need(ctx, "gate", day), outputs=outputs, metrics=metrics))
    tiny_aigq.run_day(ctx, day)  # what reads the verdict


def test_the_next_update_starts_from_another_release_and_the_ledger_says_so(
    started: Context,
) -> None:
    below(started, SECOND, accepted=False)
    stays = publish(started, SECOND, "test", "daily run")
    assert (stays.parent, stays.verdict, stays.why) == (2, "rejected", "daily run")
    anew = released(started, THIRD)
    trained = need(started, "policy", THIRD)
    assert trained.inputs["release direct"] == need(started, "sft", EVE).digest
    assert need(started, "rivals", THIRD).inputs["release direct"] == stays.models["direct"]
    assert (anew.parent, anew.models["direct"]) == (1, trained.digest)
    assert anew.models["recall"] == need(started, "recall", THIRD).digest
    assert anew.why == (
        "daily run; release 3 lay below an anchor: the update started from release 1 (2017-11-05)"
    )
    found = parent_of(trained, started.ledger.entries())
    assert found is not None
    assert found.number == 1
    # From then on as ever, and again the same.
    after = released(started, FOURTH)
    assert (after.parent, after.why) == (anew.number, "daily run")
    assert released(started, FOURTH) == after


def test_an_update_that_started_anew_and_is_rejected_changes_nothing(started: Context) -> None:
    below(started, SECOND, accepted=False)
    stays = publish(started, SECOND, "test", "daily run")
    below(started, THIRD, accepted=False)
    again = publish(started, THIRD, "test", "daily run")
    assert (again.parent, again.models["direct"]) == (stays.number, stays.models["direct"])
    assert again.why.endswith("the update started from release 1 (2017-11-05)")
    # And so does a declined one.
    tiny_aigq.run_day(started, FOURTH)
    declined = decline(started, FOURTH, "ada", "no")
    assert declined.parent == again.number
    assert declined.models == again.models


def test_people_are_told_how_to_go_back(
    started: Context, capsys: pytest.CaptureFixture[str]
) -> None:
    below(started, SECOND, accepted=True)
    better = publish(started, SECOND, "test", "daily run")
    assert proposal(started, better) is None  # its challenger took the champion's place
    propose_rollback(started, better)

    below(started, THIRD, accepted=True)
    stays = decline(started, THIRD, "ada", "no")
    alert = proposal(started, stays)
    assert alert is not None
    assert alert.text == (
        "hintq_daily 2017-11-08 serves a policy that lies below an anchor\n"
        f"{'; '.join(WORDS)}\n"
        "Remedy: aigq rollback --to 1 --reason 'release 4 lies below an anchor', or leave it to "
        "the next update, which starts from release 1 (2017-11-05)"
    )
    broken = AlertSettings(webhook=SecretStr("http://127.0.0.1:1/key"))
    settings = started.settings.model_copy(update={"alerts": broken})
    propose_rollback(replace(started, settings=settings), stays)
    assert "the alert did not go out by webhook" in capsys.readouterr().out

    back = rollback(started, 1, "ada", "release 4 lies below an anchor")
    assert proposal(started, stays) is None  # it does not serve any more
    assert proposal(started, back) is None
    assert released(started, FOURTH).parent == back.number
