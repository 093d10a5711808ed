"""The receiver of MLflow's webhook: who may start a promotion, and what a delivery starts."""

import json
import time
import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
import servers
from airflow_recorder import Recorder, airflow_recorder
from cryptography.fernet import Fernet
from pydantic import SecretStr

from aigq_tasks.errors import AigqError
from aigq_tasks.services.webhook import MAX_BYTES, create_app, is_signed, register
from aigq_tasks.settings import AirflowSettings, MlflowSettings, Settings, WebhookSettings

SECRET = "a secret of the test"
NOW = 1_763_900_000.0
MOVED = {"name": "aigq-direct", "alias": "champion", "version": "2"}


def signed(body: bytes, now: float, secret: str = SECRET, delivery: str = "") -> dict[str, str]:
    """The headers of a delivery, signed by MLflow's own code."""
    from mlflow.webhooks.delivery import _generate_hmac_signature

    delivery = delivery or str(uuid.uuid4())
    stamp = str(int(now))
    return {
        "X-MLflow-Delivery-Id": delivery,
        "X-MLflow-Timestamp": stamp,
        "X-MLflow-Signature": _generate_hmac_signature(secret, delivery, stamp, body.decode()),
    }


def event(**data: str) -> bytes:
    return json.dumps({"entity": "model_version_alias", "action": "created", "data": data}).encode()


def test_what_mlflow_signs_is_accepted_for_five_minutes() -> None:
    body = event(**MOVED)
    headers = signed(body, NOW)
    for late in (-300, 0, 300):
        assert is_signed(SECRET, headers, body, NOW + late)
    for late in (-301, 301):
        assert not is_signed(SECRET, headers, body, NOW + late)


@pytest.mark.parametrize("name", ["Delivery-Id", "Timestamp", "Signature"])
def test_all_three_headers_count(name: str) -> None:
    body = event(**MOVED)
    headers = signed(body, NOW)
    for wrong in ("", "x", "1763900001", "²", "v1,"):
        assert not is_signed(SECRET, {**headers, f"X-MLflow-{name}": wrong}, body, NOW)
    del headers[f"X-MLflow-{name}"]
    assert not is_signed(SECRET, headers, body, NOW)


def test_another_body_or_secret_is_refused() -> None:
    body = event(**MOVED)
    headers = signed(body, NOW)
    assert not is_signed(SECRET, headers, body.replace(b'"2"', b'"3"'), NOW)
    assert not is_signed("another", headers, body, NOW)


def test_no_receiver_without_a_secret() -> None:
    with pytest.raises(AigqError, match="AIGQ_WEBHOOK__SECRET"):
        create_app(Settings())


@pytest.fixture(scope="module")
def airflow() -> Iterator[Recorder]:
    with airflow_recorder() as recorder:
        yield recorder


@pytest.fixture(scope="module")
def settings(airflow: Recorder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Of a running receiver, registered at a real MLflow that may deliver to the loopback."""
    folder = tmp_path_factory.mktemp("webhook")
    allowed = {
        "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http,https",
        "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
        "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": Fernet.generate_key().decode(),
    }
    with servers.mlflow_server(folder / "mlflow", **allowed) as url:
        [port] = servers.free_ports(1)
        settings = Settings(
            mlflow=MlflowSettings(port=urlsplit(url).port),
            airflow=AirflowSettings(port=urlsplit(airflow.url).port),
            webhook=WebhookSettings(port=port, secret=SecretStr(SECRET)),
        )
        with servers.webhook_receiver(folder / "receiver", settings):
            yield settings


def deliver(settings: Settings, body: bytes, **changed: str) -> requests.Response:
    headers = signed(body, time.time()) | changed
    return requests.post(f"{settings.webhook.url}/mlflow", data=body, headers=headers, timeout=30)


@pytest.mark.integration
def test_an_alias_moved_in_mlflow_starts_a_run(settings: Settings, airflow: Recorder) -> None:
    from mlflow import MlflowClient

    client: Any = MlflowClient(settings.mlflow.url)
    client.create_registered_model("aigq-direct")
    for _ in range(2):
        client.create_model_version("aigq-direct", "s3://nowhere/model", await_creation_for=0)
    airflow.runs.clear()
    began = time.monotonic()
    client.set_registered_model_alias("aigq-direct", "challenger", "1")  # nobody's business
    client.set_registered_model_alias("aigq-direct", "champion", "2")
    while not airflow.runs and time.monotonic() < began + 30:
        time.sleep(0.02)
    print(f"from the alias to the run: {time.monotonic() - began:.2f} s")
    client.delete_registered_model_alias("aigq-direct", "champion")
    while len(airflow.runs) < 2 and time.monotonic() < began + 30:
        time.sleep(0.02)
    time.sleep(0.5)
    assert len(airflow.runs) == 2  # created and deleted; not the challenger
    for run_id, run in airflow.runs.items():
        assert run_id.startswith("mlflow__")
        assert run["path"] == "/api/v2/dags/hintq_promote/dagRuns"
        assert run["conf"] == {"reason": "champion of aigq-direct moved in MLflow"}


@pytest.mark.integration
def test_a_repeated_delivery_starts_nothing(settings: Settings, airflow: Recorder) -> None:
    body = event(**MOVED)
    headers = signed(body, time.time(), delivery="once")
    airflow.runs.clear()
    answers = [deliver(settings, body, **headers) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert list(airflow.runs) == ["mlflow__once"]


@pytest.mark.integration
def test_what_is_not_signed_or_not_ours_starts_nothing(
    settings: Settings, airflow: Recorder
) -> None:
    airflow.runs.clear()
    body = event(**MOVED)
    forged = signed(body, time.time(), secret="guessed")
    old = signed(body, time.time() - 301)
    assert deliver(settings, body, **forged).status_code == 401
    assert deliver(settings, body, **old).status_code == 401
    plain = requests.post(f"{settings.webhook.url}/mlflow", data=body, timeout=30)
    assert plain.status_code == 401
    for foreign in (
        event(name="another-model", alias="champion"),
        event(name="aigq-direct", alias="challenger"),
        event(name="aigq-direct"),
        b"[]",
        b"no json",
    ):
        assert deliver(settings, foreign).json() == {"status": "ignored"}
    assert deliver(settings, b"x" * (MAX_BYTES + 1)).status_code == 413
    assert airflow.runs == {}


@pytest.mark.integration
def test_mlflow_is_asked_to_come_again_while_airflow_is_down(
    settings: Settings, airflow: Recorder
) -> None:
    airflow.broken = True
    answer = deliver(settings, event(**MOVED))
    airflow.broken = False
    assert answer.status_code == 503  # one of those that MLflow delivers again
    assert "no database" in answer.json()["detail"]


@pytest.mark.integration
def test_registering_again_renews_the_one_webhook(settings: Settings) -> None:
    from mlflow import MlflowClient

    moved = settings.model_copy(
        update={"webhook": settings.webhook.model_copy(update={"port": 5999})}
    )
    register(moved)
    register(settings)
    [known] = MlflowClient(settings.mlflow.url).list_webhooks()
    assert known.url == f"{settings.webhook.url}/mlflow"
    assert str(known.status) == "ACTIVE"
    events = {(one.entity.value, one.action.value) for one in known.events}
    assert events == {("model_version_alias", "created"), ("model_version_alias", "deleted")}
