import re
import sys
from pathlib import Path

import pytest

from aigq_tasks.services.environment import (
    PROCFILE,
    S3_PORTS,
    service_environment,
    valkey_binary,
    weed_binary,
)
from aigq_tasks.services.health import PROBES
from aigq_tasks.services.secrets import ensure_secrets
from aigq_tasks.services.supervisor import SERVICES
from aigq_tasks.settings import AlertSettings, ApprovalSettings, Settings


def _environment(state_dir: Path) -> dict[str, str]:
    return service_environment(Settings(state_dir=state_dir), ensure_secrets(state_dir))


def test_every_variable_of_the_procfile_is_made(tmp_path: Path) -> None:
    named = set(re.findall(r"\$([A-Z0-9_]+)", PROCFILE.read_text()))
    assert named >= {"WEED", "S3_PORT", "VALKEY_PORT", "MLFLOW_PORT", "LOGS"}
    assert named <= _environment(tmp_path).keys()


def test_procfile_services_and_probes_are_the_same_set() -> None:
    lines = [line for line in PROCFILE.read_text().splitlines() if not line.startswith("#")]
    names = [line.partition(":")[0] for line in lines]
    assert names == [service.name for service in SERVICES] == list(PROBES)
    for line, name in zip(lines, names, strict=True):
        assert line.endswith(f'> "$LOGS/{name}.log" 2>&1')


def test_default_ports_do_not_collide() -> None:
    settings = Settings()
    s3 = range(settings.s3.port, settings.s3.port + len(S3_PORTS))
    sections = (settings.valkey, settings.mlflow, settings.airflow, settings.webhook)
    ports = [*s3, *(section.port for section in sections)]
    assert len(set(ports)) == len(ports)


def test_only_what_may_be_turned_keeps_the_callers_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "postgresql+psycopg2://db/airflow")
    monkeypatch.setenv("AIRFLOW__API__PORT", "1")
    monkeypatch.setenv("AWS_PROFILE", "work")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of the caller's real account")
    environment = _environment(tmp_path)
    assert environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"].startswith("postgresql")
    assert environment["AIRFLOW__API__PORT"] == str(Settings().airflow.port)
    assert "AWS_PROFILE" not in environment
    assert environment["AWS_ACCESS_KEY_ID"] == environment["AIGQ_S3__ACCESS_KEY"]


def test_tasks_find_this_pythons_commands_and_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "aigq.toml").write_text("seed = 3\n")
    monkeypatch.delenv("AIGQ_CONFIG", raising=False)
    monkeypatch.setenv("PATH", "/usr/bin")
    environment = service_environment(
        Settings(state_dir=Path(".state")), ensure_secrets(Path(".state"))
    )
    assert environment["PATH"] == f"{Path(sys.executable).parent}:/usr/bin"
    assert environment["AIGQ_CONFIG"] == str(tmp_path / "aigq.toml")
    assert environment["AIGQ_STATE_DIR"] == str(tmp_path / ".state")


def test_the_servers_come_from_their_wheels() -> None:
    for binary in (weed_binary(), valkey_binary()):
        assert binary.is_file()
        assert binary.read_bytes()[:4] == b"\x7fELF" or sys.platform == "darwin"


def test_the_settings_that_shape_a_dag_reach_it(tmp_path: Path) -> None:
    settings = Settings(
        state_dir=tmp_path,
        approval=ApprovalSettings(required=True, hours=2.5),
        alerts=AlertSettings(deadline_hours=0),
    )
    environment = service_environment(settings, ensure_secrets(tmp_path))
    assert environment["AIGQ_APPROVAL__REQUIRED"] == "true"
    assert float(environment["AIGQ_APPROVAL__HOURS"]) == 2.5
    assert float(environment["AIGQ_ALERTS__DEADLINE_HOURS"]) == 0
    assert environment["AIGQ_S3__BUCKET"] == "aigq"
