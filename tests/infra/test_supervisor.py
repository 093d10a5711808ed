"""`aigq up`, `status` and `down` with the two servers that start fast; test_stack.py has all."""

import io
import os
import signal
import socket
import time
from pathlib import Path

import boto3
import pytest
from botocore.exceptions import ClientError
from rich.console import Console

from aigq_tasks.errors import AigqError
from aigq_tasks.services import supervisor
from aigq_tasks.services.processes import supervised
from aigq_tasks.services.secrets import ensure_secrets
from aigq_tasks.services.supervisor import down, status, status_table, up
from aigq_tasks.settings import Settings

pytestmark = pytest.mark.integration
SMALL = {"s3", "valkey"}


def _pids(settings: Settings) -> dict[str, list[int]]:
    found = supervised(settings.state_dir)
    return {name: [process.pid for process in processes] for name, processes in found.items()}


def _states(settings: Settings) -> dict[str, str]:
    return {row.name: row.state for row in status(settings) if row.name in SMALL}


def _bucket(settings: Settings, secret: str | None = None):  # type: ignore[no-untyped-def]
    secrets = ensure_secrets(settings.state_dir)
    resource = boto3.resource(
        "s3",
        endpoint_url=settings.s3.url,
        region_name="us-east-1",
        aws_access_key_id=secrets["AIGQ_S3__ACCESS_KEY"],
        aws_secret_access_key=secret or secrets["AIGQ_S3__SECRET_KEY"],
    )
    return resource.Bucket(settings.s3.bucket)


def test_up_status_again_and_down(installation: Settings) -> None:
    up(installation, SMALL)
    assert _states(installation) == {"s3": "healthy", "valkey": "healthy"}
    before = _pids(installation)
    assert len(before["s3"]) == 1
    assert len(before["valkey"]) == 1

    _bucket(installation).put_object(Key="kept", Body=b"bytes")
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        _bucket(installation, "wrong").put_object(Key="refused", Body=b"")

    up(installation, SMALL)  # again: nothing is started
    assert _pids(installation) == before

    assert down(installation) >= 3  # honcho and the two servers
    assert _pids(installation) == {}
    assert _states(installation) == {"s3": "down", "valkey": "down"}
    for port in (installation.s3.port, installation.valkey.port):
        socket.create_server(("127.0.0.1", port)).close()
    assert down(installation) == 0

    up(installation, {"s3"})  # the data are still there
    assert _bucket(installation).Object("kept").get()["Body"].read() == b"bytes"


def test_the_servers_listen_on_the_loopback_alone(installation: Settings) -> None:
    up(installation, SMALL)
    listening = {
        connection.laddr
        for processes in supervised(installation.state_dir).values()
        for process in processes
        for connection in process.net_connections(kind="inet")
        if connection.status == "LISTEN"
    }
    assert {address.ip for address in listening} == {"127.0.0.1"}
    first = installation.s3.port
    expected = {*range(first, first + 10), installation.valkey.port}
    assert {address.port for address in listening} == expected


def test_when_one_server_dies_the_other_is_taken_down(installation: Settings) -> None:
    up(installation, SMALL)
    _bucket(installation).put_object(Key="kept", Body=b"before the crash")
    os.kill(_pids(installation)["valkey"][0], signal.SIGKILL)
    deadline = time.monotonic() + 15
    while _pids(installation) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert _pids(installation) == {}


def test_after_a_crash_of_everything_the_data_are_there(installation: Settings) -> None:
    up(installation, SMALL)
    _bucket(installation).put_object(Key="kept", Body=b"before the crash")
    (honcho,) = _pids(installation)["honcho"]
    for pid in [honcho, *_pids(installation)["s3"]]:
        os.kill(pid, signal.SIGKILL)
    left = _pids(installation)["valkey"]  # an orphan now
    up(installation, SMALL)
    assert _pids(installation)["valkey"] != left
    assert _bucket(installation).Object("kept").get()["Body"].read() == b"before the crash"


def test_a_server_that_cannot_start_is_named_with_its_last_words(installation: Settings) -> None:
    broken = installation.state_dir / "valkey"
    broken.mkdir(parents=True)
    (broken / "appendonlydir").write_text("a file where Valkey wants a folder")
    with pytest.raises(AigqError) as caught:
        up(installation, SMALL)
    message = str(caught.value)
    assert message.startswith("valkey ended with code 1 and the other services were taken down: ")
    assert "appendonlydir" in message
    assert str(installation.state_dir / "logs" / "valkey.log") in message
    assert "\n" not in message
    assert _pids(installation) == {}


def test_a_server_that_never_gets_healthy(
    installation: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "START_SECONDS", 3.0)
    monkeypatch.setitem(supervisor.PROBES, "valkey", lambda settings, secrets: "it is silent")
    with pytest.raises(AigqError, match=r"valkey is not healthy after 3 s: it is silent; its log"):
        up(installation, SMALL)
    assert _pids(installation) == {}


def test_a_taken_port_stops_up_before_anything_starts(installation: Settings) -> None:
    port = installation.valkey.port
    with (
        socket.create_server(("127.0.0.1", port)),
        pytest.raises(AigqError, match=rf"valkey needs port {port}.*AIGQ_VALKEY__PORT"),
    ):
        up(installation, SMALL)
    assert _pids(installation) == {}


def test_more_services_beside_those_that_run(installation: Settings) -> None:
    up(installation, {"valkey"})
    valkey = _pids(installation)["valkey"]
    up(installation, SMALL)
    assert _pids(installation)["valkey"] == valkey
    assert _states(installation) == {"s3": "healthy", "valkey": "healthy"}


def test_an_s3_of_ones_own_is_not_started(installation: Settings) -> None:
    elsewhere = installation.s3.model_copy(update={"endpoint": "http://127.0.0.1:1"})
    settings = installation.model_copy(update={"s3": elsewhere})
    up(settings, SMALL)
    assert "s3" not in _pids(settings)
    assert "s3" not in {row.name for row in status(settings)}


def test_an_unknown_service(installation: Settings) -> None:
    with pytest.raises(AigqError, match="no service is called 'redis'; there are s3, valkey"):
        up(installation, {"redis"})


def test_the_table_shows_a_row_for_each_service(installation: Settings) -> None:
    up(installation, {"valkey"})
    out = io.StringIO()
    Console(file=out, width=200).print(status_table(status(installation)))
    lines = out.getvalue().splitlines()
    valkey = next(line for line in lines if "valkey" in line)
    assert "healthy" in valkey
    assert installation.valkey.url in valkey
    assert str(_pids(installation)["valkey"][0]) in valkey
    assert len([line for line in lines if " down " in line]) == 7


def test_two_at_once(installation: Settings, tmp_path: Path) -> None:
    installation.state_dir.mkdir()
    with (
        supervisor._one_at_a_time(installation.state_dir),
        pytest.raises(AigqError, match="another `aigq up` is at work"),
    ):
        up(installation, SMALL)
