"""An installation of its own for each test: a state folder, free ports, and an end to it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import servers

from aigq_tasks.services.environment import S3_PORTS
from aigq_tasks.services.processes import end_all
from aigq_tasks.settings import (
    AirflowSettings,
    MlflowSettings,
    S3Settings,
    Settings,
    ValkeySettings,
    WebhookSettings,
)


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Settings]:
    """Settings of an installation that nobody started; whatever a test starts is ended."""
    valkey, mlflow, airflow, webhook = servers.free_ports(4)
    settings = Settings(
        state_dir=tmp_path / "state",
        s3=S3Settings(port=servers.free_block(len(S3_PORTS))),
        valkey=ValkeySettings(port=valkey),
        mlflow=MlflowSettings(port=mlflow),
        airflow=AirflowSettings(port=airflow),
        webhook=WebhookSettings(port=webhook),
    )
    yield settings
    end_all(settings.state_dir)
