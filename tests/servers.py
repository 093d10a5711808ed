"""The real servers the tests talk to, on free loopback ports, with their data in a folder."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import requests
import valkey
from botocore.config import Config

from aigq_tasks.services.environment import valkey_binary, weed_binary
from aigq_tasks.settings import MlflowSettings, S3Settings, Settings, ValkeySettings
from aigq_tasks.tracking.runs import Tracking

START_SECONDS = 90.0


@dataclass(frozen=True)
class S3Server:
    url: str
    access_key: str
    secret_key: str


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on; each is held until the last one is found."""
    ports: list[int] = []
    with ExitStack() as held:
        while len(ports) < count:
            probe = held.enter_context(socket.socket())
            probe.bind(("127.0.0.1", 0))
            ports.append(probe.getsockname()[1])
    return ports


def free_block(count: int) -> int:
    """The first of `count` consecutive free ports, from another range in each pytest worker."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    start = 21000 + worker * 2000
    for first in range(start, start + 2000, count):
        if all(_is_free(port) for port in range(first, first + count)):
            return first
    raise RuntimeError("no free ports")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@contextmanager
def process(
    command: list[str], folder: Path, answers: Callable[[], bool], env: dict[str, str] | None = None
) -> Iterator[None]:
    """Run a server until the block ends; it and its children are one process group."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "log"
    with log.open("wb") as sink:
        server = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **(env or {})},
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait(server, answers, log)
        yield
    finally:
        # SIGTERM would be kinder, but SeaweedFS takes over ten seconds to heed it, and the
        # data are thrown away.
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def _wait(server: "subprocess.Popen[bytes]", answers: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not answers():
        if server.poll() is not None or time.monotonic() > deadline:
            tail = log.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"{server.args!r} did not start:\n{tail}")
        time.sleep(0.05)


@contextmanager
def seaweedfs(folder: Path, ports: Sequence[int] = ()) -> Iterator[S3Server]:
    """SeaweedFS with its S3 gateway. Buckets must be created, as on S3 itself. ports: eight of
    them, to start a server again where it was."""
    parts = ["master", "volume", "filer", "s3"]
    ports = ports or free_ports(2 * len(parts))
    listen = [
        f"-{part}.{kind}={port}"
        for (part, kind), port in zip(
            [(part, kind) for part in parts for kind in ("port", "port.grpc")], ports, strict=True
        )
    ]
    key, secret = "aigq-test", "aigq-test-secret"
    s3_port = ports[parts.index("s3") * 2]
    url = f"http://127.0.0.1:{s3_port}"
    command = [
        str(weed_binary()),
        "-logtostderr=true",
        "server",
        f"-dir={folder}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        *listen,
        "-filer",
        f"-filer.localSocket={folder}/filer.sock",
        "-s3",
        f"-s3.localSocket={folder}/s3.sock",
        "-s3.autoCreateBucket=false",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-master.telemetry=false",
        "-master.volumeSizeLimitMB=64",
        "-volume.max=0",
        "-volume.preStopSeconds=0",
    ]
    env = {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret}
    try:
        with process(command, folder, lambda: _http_ok(f"{url}/healthz"), env):
            yield S3Server(url, key, secret)
    finally:
        for part, port in zip(parts, ports[1::2], strict=True):  # no option moves these
            Path(f"/tmp/seaweedfs-{part}-grpc-{port}.sock").unlink(missing_ok=True)


@contextmanager
def valkey_server(folder: Path, port: int = 0) -> Iterator[str]:
    """valkey-server without persistence; yields its URL."""
    port = port or free_ports(1)[0]
    url = f"redis://127.0.0.1:{port}/0"
    command = [str(valkey_binary()), "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    with process(command, folder, lambda: _pong(url)):
        yield url


@contextmanager
def mlflow_server(folder: Path, port: int = 0, **environment: str) -> Iterator[str]:
    """MLflow tracking server on SQLite with artifacts in the folder; yields its URL."""
    port = port or free_ports(1)[0]
    url = f"http://127.0.0.1:{port}"
    command = [
        sys.executable,
        *("-m", "mlflow", "server"),
        *("--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
        *("--backend-store-uri", f"sqlite:///{folder}/mlflow.db"),
        *("--artifacts-destination", str(folder / "artifacts")),
    ]
    env = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **environment}
    with process(command, folder, lambda: _http_ok(f"{url}/health"), env):
        yield url


@contextmanager
def webhook_receiver(folder: Path, settings: Settings) -> Iterator[None]:
    """The receiver of services/webhook.py as the Procfile starts it, with these settings; it is
    known to MLflow when the block begins."""
    hook = settings.webhook
    names = {"MLFLOW": settings.mlflow, "AIRFLOW": settings.airflow, "WEBHOOK": hook}
    env = {f"AIGQ_{name}__HOST": own.host for name, own in names.items()}
    env |= {f"AIGQ_{name}__PORT": str(own.port) for name, own in names.items()}
    env["AIGQ_WEBHOOK__SECRET"] = hook.secret.get_secret_value()
    env["NO_PROXY"] = "127.0.0.1"
    command = [
        *(sys.executable, "-m", "uvicorn", "--factory", "aigq_tasks.services.webhook:create_app"),
        *("--host", hook.host, "--port", str(hook.port)),
    ]
    with process(command, folder, lambda: _http_ok(f"{hook.url}/health"), env):
        yield


@contextmanager
def chat_server(folder: Path, dies_after: int = 0) -> Iterator[str]:
    """The OpenAI-compatible server of chat_server.py; yields its URL without /v1. It exits at
    the question after `dies_after`, where that is above 0."""
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    script = Path(__file__).with_name("chat_server.py")
    command = [sys.executable, str(script), str(port), str(dies_after)]
    with process(command, folder, lambda: _http_ok(f"{url}/health")):
        yield url


def _http_ok(url: str) -> bool:
    try:
        return requests.get(url, timeout=2).ok
    except requests.RequestException:
        return False


def _pong(url: str) -> bool:
    with valkey.Valkey.from_url(url, socket_timeout=2) as client:
        try:
            return bool(client.ping())
        except valkey.ValkeyError:
            return False


def s3_client(server: S3Server) -> Any:
    """What no part of the project does: write over objects, delete buckets."""
    return boto3.client(
        "s3",
        endpoint_url=server.url,
        region_name="us-east-1",
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
        config=Config(s3={"addressing_style": "path"}),
    )


def delete_bucket(server: S3Server, bucket: str) -> None:
    """Delete a bucket with all it holds; nothing happens when there is none."""
    s3 = s3_client(server)
    if bucket not in [found["Name"] for found in s3.list_buckets()["Buckets"]]:
        return
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for found in page.get("Contents", []):
            s3.delete_object(Bucket=bucket, Key=found["Key"])
    s3.delete_bucket(Bucket=bucket)


def settings_for(s3: S3Server, bucket: str, mlflow_url: str, valkey_url: str) -> Settings:
    """Settings that name running servers, with a bucket and an experiment of their own."""
    mlflow, valkey = urlsplit(mlflow_url), urlsplit(valkey_url)
    return Settings(
        s3=S3Settings(
            endpoint=s3.url, bucket=bucket, access_key=s3.access_key, secret_key=s3.secret_key
        ),
        mlflow=MlflowSettings(
            host=str(mlflow.hostname), port=mlflow.port, experiment=f"experiment-{bucket}"
        ),
        valkey=ValkeySettings(host=str(valkey.hostname), port=valkey.port),
    )


def tracking_of(settings: Settings) -> Tracking:
    """The experiment of the settings, as the runner opens it."""
    mlflow, source = settings.mlflow, settings.source()
    return Tracking(
        mlflow.url, mlflow.experiment, settings.s3.bucket, source.label, source.days()[0]
    )
