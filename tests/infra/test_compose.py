"""docker-compose.yml says the same as the services without containers. It is not run here."""

import re
from pathlib import Path

import yaml

from aigq_tasks.services.environment import REPOSITORY, service_environment
from aigq_tasks.services.secrets import MAKERS, ensure_secrets
from aigq_tasks.services.supervisor import SERVICES
from aigq_tasks.settings import Settings

TEXT = (REPOSITORY / "docker-compose.yml").read_text()
COMPOSE = yaml.safe_load(TEXT)


def test_the_same_services_and_the_migration() -> None:
    assert set(COMPOSE["services"]) == {service.name for service in SERVICES} | {"airflow-init"}


def test_ports_are_the_default_settings_on_the_loopback() -> None:
    ports = {
        tuple(port.split(":")[:2])
        for service in COMPOSE["services"].values()
        for port in service.get("ports", [])
    }
    settings = Settings()
    sections = (settings.s3, settings.valkey, settings.mlflow, settings.airflow)
    assert ports == {("127.0.0.1", str(section.port)) for section in sections}


def test_no_secret_is_written_in_it() -> None:
    assert set(re.findall(r"\$\{(\w+):\?", TEXT)) == set(MAKERS)
    for service in COMPOSE["services"].values():
        for name, value in service.get("environment", {}).items():
            if re.search(r"SECRET|FERNET|ACCESS_KEY|ENCRYPTION", name):
                assert value.startswith("${"), name


def test_airflow_and_mlflow_are_set_as_without_containers(tmp_path: Path) -> None:
    """Hosts, paths and what only SQLite on a laptop needs may differ; the rest may not."""
    local = service_environment(Settings(state_dir=tmp_path), ensure_secrets(tmp_path))
    differ = re.compile(r"HOME|FOLDER|URL|_CONN|HOST|PORT|SECRET|FERNET|KEY")
    compared = 0
    for service in COMPOSE["services"].values():
        for name, value in service.get("environment", {}).items():
            if name.startswith(("AIRFLOW", "MLFLOW")) and not differ.search(name):
                assert local[name] == value, name
                compared += 1
    assert compared > 10


def test_every_setting_in_it_is_one_of_ours() -> None:
    for name in COMPOSE["x-aigq"]["environment"]:
        if name.startswith("AIGQ_"):
            section, field = name.removeprefix("AIGQ_").lower().split("__")
            assert field in type(getattr(Settings(), section)).model_fields, name
