"""A server dies in the middle of a stage and comes back: the stage waits for it, or says in one
line what is wrong; run again, it ends as if nothing had happened."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import servers
from chaos import matrix, releases, small

from aigq_tasks.errors import AigqError
from aigq_tasks.pipeline.context import Context
from aigq_tasks.pipeline.runner import run_stage
from aigq_tasks.settings import Settings
from aigq_tasks.storage import objects

pytestmark = pytest.mark.integration


class Mortal:
    """A server that can be killed (SIGKILL) and started again with its ports and data."""

    def __init__(self, start: Callable[[], AbstractContextManager[Any]]) -> None:
        self._start, self._running = start, ExitStack()
        self.address = self.start()

    def start(self) -> Any:
        return self._running.enter_context(self._start())

    def kill(self) -> None:
        self._running.close()


@pytest.fixture
def mortal() -> Iterator[Callable[..., Mortal]]:
    """Makes servers that do not outlive the test."""
    with ExitStack() as stack:

        def make(start: Callable[..., Any], *where: Any) -> Mortal:
            server = Mortal(partial(start, *where))
            stack.callback(server.kill)
            return server

        yield make


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """at(module, point, act): act when the module first passes the crash point."""

    def arm(module: str, point: str, act: Callable[[], object]) -> None:
        waiting = [act]

        def passed(name: str) -> None:
            if name == point and waiting:
                waiting.pop()()

        monkeypatch.setattr(f"aigq_tasks.{module}.crash_point", passed)

    return arm


def one_line(caught: pytest.ExceptionInfo[AigqError], start: str) -> None:
    assert str(caught.value).startswith(start)
    assert "\n" not in str(caught.value)


def test_s3_dies(
    mortal: Callable[..., Mortal],
    at: Callable[..., None],
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    s3 = mortal(servers.seaweedfs, tmp_path / "s3", servers.free_ports(8))
    where = servers.settings_for(s3.address, "own", settings.mlflow.url, settings.valkey.url)
    undisturbed = run_stage(small.SCALE, small.land(settings), small.DAY).to_bytes()
    for module, point in (
        ("pipeline.runner", "computed"),
        ("pipeline.runner", "objects"),
        ("storage.manifests", "manifest-body"),
    ):
        bucket = where.s3.model_copy(update={"bucket": f"at-{point}"})
        ctx = small.land(where.model_copy(update={"s3": bucket}))
        at(module, point, s3.kill)
        monkeypatch.setattr(objects, "RETRY_SECONDS", 1.0)
        with pytest.raises(AigqError) as caught:
            run_stage(small.SCALE, ctx, small.DAY)
        one_line(caught, "S3 does not answer at http://127.0.0.1:")
        monkeypatch.setattr(objects, "RETRY_SECONDS", 60.0)  # a busy machine starts it slowly
        s3.start()
        assert run_stage(small.SCALE, ctx, small.DAY).to_bytes() == undisturbed
    # It is back before the stage gives up: the stage has only waited.
    ctx = small.land(where)

    def restart() -> None:
        s3.kill()
        threading.Timer(1.0, s3.start).start()

    at("pipeline.runner", "objects", restart)
    assert run_stage(small.SCALE, ctx, small.DAY).to_bytes() == undisturbed


def test_mlflow_dies(
    mortal: Callable[..., Mortal],
    at: Callable[..., None],
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    port = servers.free_ports(1)[0]
    mlflow = mortal(servers.mlflow_server, tmp_path / "mlflow", port)
    small.land(settings)
    here = settings.mlflow.model_copy(update={"host": "127.0.0.1", "port": port})
    for module, point in (("tracking.runs", "metrics"), ("tracking.registry", "model-files")):
        own = matrix.with_experiment(settings.model_copy(update={"mlflow": here}), point)
        ctx = Context.open(own)
        at(module, point, mlflow.kill)
        with pytest.raises(AigqError) as caught:
            run_stage(small.SCALE, ctx, small.DAY)
        one_line(caught, f"MLflow at http://127.0.0.1:{port} fails: ")
        mlflow.start()
        matrix.check_tracked(own, run_stage(small.SCALE, ctx, small.DAY))


@pytest.mark.parametrize(
    ("module", "point", "released"),
    [
        ("serving.indexes", "u2q-half", 1),
        ("serving.indexes", "x2q-half", 1),
        ("releases.live", "indexes", 2),  # the ledger needs S3 alone
        ("serving.indexes", "u2q-retire", 2),
    ],
)
def test_valkey_dies(
    mortal: Callable[..., Mortal],
    at: Callable[..., None],
    settings: Settings,
    tmp_path: Path,
    module: str,
    point: str,
    released: int,
) -> None:
    port = servers.free_ports(1)[0]
    valkey = mortal(servers.valkey_server, tmp_path / "valkey", port)
    here = settings.valkey.model_copy(update={"host": "127.0.0.1", "port": port})
    own = settings.model_copy(update={"valkey": here})
    ctx = small.land(own)
    small.publish(own, small.FIRST)
    at(module, point, valkey.kill)
    with pytest.raises(AigqError) as caught:
        small.publish(own, small.DAY)
    one_line(caught, f"Valkey does not answer at redis://127.0.0.1:{port}/0")
    assert len(ctx.ledger.entries()) == released
    valkey.start()  # it has lost everything
    small.publish(own, small.DAY)
    releases.check_served(own, 2)
