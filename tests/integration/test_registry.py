"""MLflow's versions, verdicts and aliases follow the ledger, on real MLflow, S3 and Valkey; and
what `aigq promote` refuses before it builds anything. test_promotion.py has what it builds."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest
import servers

from aigq_tasks.errors import NothingToDo
from aigq_tasks.pipeline.context import Context
from aigq_tasks.pipeline.reads import Release
from aigq_tasks.releases.aliases import OURS, reconcile
from aigq_tasks.releases.live import publish_release
from aigq_tasks.releases.promote import promote
from aigq_tasks.releases.rollback import rollback
from aigq_tasks.settings import Settings
from aigq_tasks.storage.canonical import to_json
from aigq_tasks.storage.ledger import Entry, LedgerConflict
from aigq_tasks.storage.manifests import Blob, Manifest
from aigq_tasks.storage.objects import blob_key
from aigq_tasks.tracking.registry import SERVED_AS, Registry

pytestmark = pytest.mark.integration
EVE = Settings().bootstrap_day
DIRECT = "aigq-direct"


@pytest.fixture(scope="module")
def mlflow_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server whose registered models may be deleted."""
    with servers.mlflow_server(tmp_path_factory.mktemp("registry")) as url:
        yield url


@pytest.fixture
def client(settings: Settings) -> Any:
    from mlflow import MlflowClient

    client = MlflowClient(settings.mlflow.url)
    for model in client.search_registered_models():
        client.delete_registered_model(model.name)
    return client


class Loop:
    """A daily loop whose stages do nothing but leave what the registry reads."""

    def __init__(self, ctx: Context) -> None:
        self.ctx = ctx
        self.tracking = servers.tracking_of(ctx.settings)
        sft = self.made("sft", EVE, {}, weights=b"sft")
        self.release(EVE, {"direct": sft.digest}, "bootstrap")

    def made(self, stage: str, day: date, inputs: dict[str, str], **files: bytes) -> Manifest:
        """A stage's result, logged in MLflow as the runner does."""
        outputs = {
            name: Blob(self.ctx.store.put_blob(data), len(data)) for name, data in files.items()
        }
        manifest = Manifest(stage=stage, day=day, inputs=inputs, outputs=outputs)
        manifest = self.ctx.manifests.create(manifest)
        self.tracking.log(manifest, {}, None, files if stage in ("ctr", "sft", "policy") else None)
        return manifest

    def release(self, day: date, models: dict[str, str], verdict: Any) -> Entry:
        head = self.ctx.ledger.current()
        entry = Entry(
            day=day,
            revision=1,
            parent=head.number if head else None,
            models=models,
            verdict=verdict,
            code="c",
            config="d",
            who="ann",
            why="daily run",
        )
        return publish_release(self.ctx, entry)

    def run(self, number: int, accepted: bool = True, publish: bool = True) -> Manifest:
        """The day EVE + number; its policy. Only an accepted one goes live."""
        day = EVE + timedelta(days=number)
        head = self.ctx.ledger.current()
        assert head is not None
        served = {Release(kind).key: digest for kind, digest in head.models.items()}
        ctr = self.made("ctr", day, served, model=f"ctr {number}".encode())
        policy = self.made("policy", day, served, weights=f"policy {number}".encode())
        judged = {"policy": policy.digest, "ctr": ctr.digest}
        evaluate = self.made("evaluate", day, judged)
        verdict = to_json({"accepted": accepted, "ctr_faults": [] if number > 1 else ["AUC"]})
        inputs = {"evaluate": evaluate.digest, "ctr": ctr.digest}
        self.made("gate", day, inputs, **{"verdict.json": verdict})
        if publish:
            models = head.models | ({"direct": policy.digest} if accepted else {})
            self.release(day, models | {"ctr": ctr.digest}, "accepted" if accepted else "rejected")
        return policy


@pytest.fixture
def loop(ctx: Context, client: Any) -> Loop:
    return Loop(ctx)


def aliases(client: Any) -> dict[str, int]:
    found = client.get_registered_model(DIRECT).aliases
    return {alias: int(version) for alias, version in found.items()}


def tags(client: Any, version: int) -> dict[str, str]:
    return dict(client.get_model_version(DIRECT, str(version)).tags)


def move(client: Any, version: int) -> None:
    client.set_registered_model_alias(DIRECT, "champion", str(version))


def refusal(ctx: Context, client: Any, version: int) -> str:
    """The words that MLflow shows on a version which a person makes champion in vain."""
    current, before = ctx.ledger.current(), aliases(client)
    move(client, version)
    promote(ctx, "ann")
    assert ctx.ledger.current() == current
    assert aliases(client) == before
    words = tags(client, version)["promotion"]
    assert current is not None
    head = f"refused, release {current.number} stays: "
    assert words.startswith(head)
    return words.removeprefix(head)


def test_a_version_per_day_accepted_or_rejected(loop: Loop, client: Any) -> None:
    policy = loop.run(1)
    loop.run(2, accepted=False)
    assert tags(client, 2).items() >= {
        ("day", "2017-11-06"),
        ("revision", "1"),
        ("parent", "1"),
        ("verdict", "accepted"),
        ("manifest", policy.digest),
    }
    assert [tags(client, number)["verdict"] for number in (1, 2, 3)] == [
        "bootstrap",
        "accepted",
        "rejected",
    ]
    assert "parent" not in tags(client, 1)  # trained from no release
    assert tags(client, 3)["parent"] == "2"
    assert aliases(client) == {"champion": 2, "challenger": 3}
    clicks = {
        v.number: v.tags["verdict"] for v in Registry(client.tracking_uri).versions("hintq-ctr")
    }
    assert clicks == {1: "rejected", 2: "accepted"}  # its own faults, not the policy's
    loop.run(3)
    assert aliases(client) == {"champion": 4}  # the newest that was judged is the champion


def test_no_verdict_before_the_gate(loop: Loop, client: Any) -> None:
    release = loop.ctx.ledger.current()
    assert release is not None
    served = {"release direct": release.models["direct"]}
    loop.made("policy", EVE + timedelta(days=1), served, w=b"new")
    assert reconcile(loop.ctx) == []
    assert "verdict" not in tags(client, 2)
    assert aliases(client) == {"champion": 1}


def test_a_day_that_is_judged_but_not_released_challenges(loop: Loop, client: Any) -> None:
    loop.run(1, publish=False)
    assert reconcile(loop.ctx) == []
    assert aliases(client) == {"champion": 1, "challenger": 2}


def test_aliases_follow_a_rollback_and_a_second_time_nothing_is_written(
    loop: Loop, client: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    loop.run(1)
    loop.run(2)
    rollback(loop.ctx, 2, "ann", "clicks fell")
    assert aliases(client) == {"champion": 2, "challenger": 3}
    before = [
        client.get_registered_model(name).last_updated_timestamp
        for name in SERVED_AS
        if name != "aigq-think"
    ]
    capsys.readouterr()
    assert reconcile(loop.ctx) == []
    assert capsys.readouterr().out == ""
    after = [
        client.get_registered_model(name).last_updated_timestamp
        for name in SERVED_AS
        if name != "aigq-think"
    ]
    assert after == before


def test_a_move_by_a_person_is_a_request_and_stays(loop: Loop, client: Any) -> None:
    loop.run(1)
    move(client, 1)
    [asked] = reconcile(loop.ctx)
    assert (asked.model, asked.number) == (DIRECT, 1)
    loop.run(2, accepted=False)  # a release meanwhile does not take it back
    assert aliases(client)["champion"] == 1
    client.delete_registered_model_alias(DIRECT, "champion")  # the person thinks better of it
    assert reconcile(loop.ctx) == []
    assert aliases(client) == {"champion": 2, "challenger": 3}
    with pytest.raises(NothingToDo):
        promote(loop.ctx, "ann")


def test_an_alias_that_the_ledger_left_behind_is_no_request(
    loop: Loop, client: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    loop.run(1)
    policy = loop.run(2, publish=False)
    settings = loop.ctx.settings
    [port] = servers.free_ports(1)
    nowhere = settings.mlflow.model_copy(update={"port": port})
    loop.ctx = replace(loop.ctx, settings=settings.model_copy(update={"mlflow": nowhere}))
    loop.release(EVE + timedelta(days=2), {"direct": policy.digest}, "accepted")
    out = capsys.readouterr().out
    assert "release 3 is live" in out
    assert "`aigq reconcile` brings them up to date" in out
    assert aliases(client)["champion"] == 2  # it is what release 2 served
    loop.ctx = replace(loop.ctx, settings=settings)
    assert reconcile(loop.ctx) == []
    assert aliases(client) == {"champion": 3}


@pytest.mark.parametrize("reached", [1, 2])
def test_a_crash_in_the_middle_of_an_own_move_is_no_request(
    loop: Loop, client: Any, reached: int
) -> None:
    loop.run(1)
    # The tag was written, the alias perhaps; then the process died, and the ledger went on.
    client.set_registered_model_tag(DIRECT, OURS, "1 2")
    move(client, reached)
    loop.run(2)
    assert aliases(client) == {"champion": 3}
    assert client.get_registered_model(DIRECT).tags[OURS] == "3"


def test_a_copy_of_the_champion_is_no_other_model(loop: Loop, client: Any) -> None:
    policy = loop.run(1)
    client.create_model_version(
        DIRECT, "s3://copy/model", tags={"manifest": policy.digest}, await_creation_for=0
    )
    move(client, 3)
    assert reconcile(loop.ctx) == []
    assert aliases(client)["champion"] == 2


def test_versions_that_nobody_knows_are_refused(loop: Loop, client: Any) -> None:
    loop.run(1)
    index = loop.made("x2q", EVE, {}, x=b"an index")
    for manifest in (None, "../ledger/1", "0" * 64, index.digest, index.outputs["x"].digest):
        given = {"manifest": manifest} if manifest else {}
        client.create_model_version(DIRECT, "s3://x/model", tags=given, await_creation_for=0)
    assert [refusal(loop.ctx, client, version).split(":")[0] for version in range(3, 8)] == [
        "nobody knows what made it",
        "nobody knows what made it",
        f"its manifest {'0' * 64} is gone from the object store",
        "its manifest is one of 'x2q', not of aigq-direct",
        f"what its tag 'manifest' names, {index.outputs['x'].digest}, is none",
    ]
    with pytest.raises(NothingToDo):  # putting an alias back is no request
        promote(loop.ctx, "ann")


def test_a_version_that_is_gone_damaged_or_cannot_be_loaded_is_refused(
    loop: Loop, client: Any
) -> None:
    store = loop.ctx.store
    policies = [loop.run(number) for number in range(1, 5)]
    store.delete(blob_key(policies[0].outputs["weights"].digest))
    _damage(loop.ctx, policies[1].outputs["weights"].digest)
    assert refusal(loop.ctx, client, 2) == "its file weights is gone from the object store"
    assert refusal(loop.ctx, client, 3) == "its file weights is damaged in the object store"
    assert refusal(loop.ctx, client, 4).startswith("it cannot be loaded: ")
    _damage(loop.ctx, policies[2].digest)
    assert refusal(loop.ctx, client, 4) == (
        f"its manifest {policies[2].digest} is damaged in the object store"
    )


def _damage(ctx: Context, digest: str) -> None:
    ctx.store._s3.put_object(Bucket=ctx.store.bucket, Key=blob_key(digest), Body=b"other bytes")


def test_a_version_that_has_seen_a_later_day_is_refused(loop: Loop, client: Any) -> None:
    """The market of that day would meet a policy which learned from its clicks."""
    loop.run(1, publish=False)
    assert reconcile(loop.ctx) == []
    assert refusal(loop.ctx, client, 2) == (
        "it has seen the log of 2017-11-06, which the release of 2017-11-05 has not: "
        "release 2017-11-06 first"
    )


def test_a_release_that_was_built_on_another_one_is_not_appended(loop: Loop) -> None:
    loop.run(1)
    ledger = loop.ctx.ledger
    base = ledger.current()
    assert base is not None
    models = [{**base.models, "direct": digit * 64} for digit in "ab"]
    entry = replace(base, parent=base.number, models=models[0], verdict="promoted")
    assert ledger.append(entry, after=base.number).number == 3
    with pytest.raises(
        LedgerConflict, match="release 2 is not the current one anymore: entry 3 is"
    ):
        ledger.append(replace(entry, models=models[1]), after=base.number)
    assert len(ledger.entries()) == 3


def test_nothing_is_asked_of_an_empty_ledger(ctx: Context, client: Any) -> None:
    assert reconcile(ctx) == []
    with pytest.raises(NothingToDo):
        promote(ctx, "ann")
