"""A person moves `champion` in MLflow: through the real webhook and receiver to a release, with
real models at the smallest size. Airflow's place is taken by a recorder of its REST API; what its
task would run, `aigq promote`, is called here."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
import servers
from airflow_recorder import Recorder, airflow_recorder
from cryptography.fernet import Fernet
from pydantic import SecretStr
from smallest import EVE, SMALLEST, WHO

from aigq_tasks.errors import NothingToDo
from aigq_tasks.pipeline.context import Context
from aigq_tasks.pipeline.reading import need, table
from aigq_tasks.pipeline.reads import Release
from aigq_tasks.pipeline.runner import run_stage
from aigq_tasks.releases.bootstrap import STEPS, bootstrap
from aigq_tasks.releases.promote import promote
from aigq_tasks.serving.indexes import connect, get_u2q, lookup_x2q, version_of
from aigq_tasks.settings import AirflowSettings, Settings, WebhookSettings
from aigq_tasks.stages.first_policies import SFT, THINK_SFT
from aigq_tasks.storage.ledger import Entry

pytestmark = pytest.mark.integration
SECONDS = 60.0
SMALLER = SMALLEST | {
    "AIGQ_LAUNCH_DAYS": "5",
    "AIGQ_MARKET__HOUSEHOLDS": "150",
    "AIGQ_HISTORY_DAYS": "10",
    "AIGQ_SAMPLES__BOOTSTRAP_DAYS": "2",
    "AIGQ_THINK__BOOTSTRAP_DAYS": "2",
    "AIGQ_SERVABLE__CANARIES": "4",
    "AIGQ_SERVABLE__REASONED": "2",
}
ALLOWED = {
    "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http,https",
    "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
}


@dataclass(frozen=True)
class Stack:
    ctx: Context
    airflow: Recorder
    client: Any

    def move(self, model: str, version: int) -> None:
        self.client.set_registered_model_alias(model, "champion", str(version))

    def champion(self, model: str) -> int:
        return int(self.client.get_model_version_by_alias(model, "champion").version)

    def promotion(self, model: str, version: int) -> str:
        return str(self.client.get_model_version(model, str(version)).tags["promotion"])

    def wait_for_run(self, model: str) -> None:
        """Wait until the webhook has started a run for the model."""
        deadline = time.monotonic() + 30
        reason = f"champion of {model} moved in MLflow"
        while not any(run["conf"]["reason"] == reason for run in self.airflow.runs.values()):
            assert time.monotonic() < deadline, "no run"
            time.sleep(0.02)


@pytest.fixture(scope="module")
def stack(
    s3_server: servers.S3Server, valkey_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """Release 3 of a bootstrap, and a second version of each model that no gate has judged."""
    from mlflow import MlflowClient

    folder = tmp_path_factory.mktemp("promotion")
    key = {"MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": Fernet.generate_key().decode()}
    with (
        pytest.MonkeyPatch.context() as patch,
        servers.mlflow_server(folder / "mlflow", **ALLOWED, **key) as mlflow_url,
        airflow_recorder() as airflow,
    ):
        for name, value in SMALLER.items():
            patch.setenv(name, value)
        [port] = servers.free_ports(1)
        own = servers.settings_for(s3_server, "promotion", mlflow_url, valkey_url)
        settings = own.model_copy(
            update={
                "airflow": AirflowSettings(port=urlsplit(airflow.url).port),
                "webhook": WebhookSettings(port=port, secret=SecretStr("secret of a test")),
            }
        )
        ctx = Context.open(settings)
        with servers.webhook_receiver(folder / "receiver", settings):
            for step in STEPS:
                bootstrap(ctx, EVE, step, **WHO)
            for stage in (SFT, THINK_SFT):
                run_stage(stage, ctx.changed(_with_seed_5), EVE)
            yield Stack(ctx, airflow, MlflowClient(mlflow_url))


def _with_seed_5(settings: Settings) -> Settings:
    policy = settings.policy.model_copy(update={"seed": 5})
    return settings.model_copy(update={"policy": policy})


def current(ctx: Context) -> Entry:
    entry = ctx.ledger.current()
    assert entry is not None
    return entry


def test_a_moved_alias_becomes_a_release(stack: Stack) -> None:
    ctx, before = stack.ctx, current(stack.ctx)
    daily = need(ctx, "u2q", EVE)
    promoted = need(ctx, "sft", EVE)  # the second version
    assert promoted.digest != before.models["direct"]
    stack.airflow.runs.clear()
    began = time.monotonic()
    stack.move("aigq-direct", 2)
    stack.wait_for_run("aigq-direct")
    promote(ctx, "ann")
    seconds = time.monotonic() - began
    print(f"from the alias to the release: {seconds:.1f} s")
    entry = current(ctx)
    assert (entry.number, entry.day, entry.verdict, entry.parent) == (
        before.number + 1,
        EVE,
        "promoted",
        before.number,
    )
    changed = {kind for kind in entry.models if entry.models[kind] != before.models[kind]}
    assert changed == {"direct", "u2q"}
    assert entry.models["direct"] == promoted.digest
    assert entry.why == "aigq-direct version 2 was made champion in MLflow"
    # The next daily run goes on from the promoted policy; the day's own results are untouched.
    started = Release("direct").resolve(ctx.moment(EVE + timedelta(days=1)))
    assert started is not None
    assert started.digest == promoted.digest
    assert need(ctx, "u2q", EVE) == daily
    assert stack.champion("aigq-direct") == 2
    assert stack.promotion("aigq-direct", 2) == f"release {entry.number}"
    lists = table(ctx, need(ctx, "promote-u2q", EVE), "u2q")
    user = lists["user_id"].iloc[0]
    with connect(ctx.settings.valkey.url) as client:
        cached = get_u2q(client, version_of(entry.models["u2q"]), user)
    assert cached is not None
    assert [query for query, _ in cached.queries] == lists.loc[
        lists["user_id"] == user, "query"
    ].tolist()
    assert seconds < SECONDS
    with pytest.raises(NothingToDo):  # the alias agrees with the ledger now
        promote(ctx, "ann")


def test_an_unservable_version_is_refused_and_tried_again_when_asked_again(stack: Stack) -> None:
    ctx, before = stack.ctx, current(stack.ctx)
    settings = ctx.settings.model_copy(
        update={"servable": ctx.settings.servable.model_copy(update={"max_seconds": 0.0})}
    )
    strict = replace(ctx, settings=settings)
    stack.airflow.runs.clear()
    began = time.monotonic()
    stack.move("aigq-think", 2)
    stack.wait_for_run("aigq-think")
    for _ in range(2):
        promote(strict, "ann")
        words = stack.promotion("aigq-think", 2)
        head = f"refused, release {before.number} stays: it cannot be served: ranking takes "
        assert words.startswith(head)
        assert current(ctx) == before
        assert stack.champion("aigq-think") == 1
        print(f"from the alias to the refusal: {time.monotonic() - began:.1f} s")
        stack.move("aigq-think", 2)
    tries = [ctx.manifests.read(key) for key in ctx.store.list("manifests/promote-servable/")]
    # Two refusals in the same words are one result.
    assert [float(one.metrics["servable"]) for one in tries] in ([1, 0], [1, 0, 0])
    promote(ctx, "ann")  # the machine is as fast as ever
    entry = current(ctx)
    changed = {kind for kind in entry.models if entry.models[kind] != before.models[kind]}
    assert changed == {"think", "x2q"}
    assert stack.promotion("aigq-think", 2) == f"release {entry.number}"


def test_a_promoted_click_model_scores_the_index_anew(stack: Stack) -> None:
    """Version 1 of the click model is of an earlier day of the bootstrap."""
    ctx, before = stack.ctx, current(stack.ctx)
    stack.move("hintq-ctr", 1)
    promote(ctx, "ann")
    entry = current(ctx)
    changed = {kind for kind in entry.models if entry.models[kind] != before.models[kind]}
    assert changed == {"ctr", "x2q"}
    old, new = (table(ctx, ctx.manifests.get(own.models["x2q"]), "x2q") for own in (before, entry))
    pairs = old.merge(new, on=["trigger", "query"], suffixes=("_old", "_new"))
    assert len(pairs) == len(old) == len(new)  # what was reasoned stays
    assert (pairs["score_old"] != pairs["score_new"]).any()
    trigger = new["trigger"].iloc[0]
    with connect(ctx.settings.valkey.url) as client:
        found = lookup_x2q(client, version_of(entry.models["x2q"]), [trigger])[trigger]
    assert [query for query, _ in found] == new.loc[new["trigger"] == trigger, "query"].tolist()
