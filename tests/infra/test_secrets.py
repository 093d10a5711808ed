import stat
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from aigq_tasks.services.secrets import MAKERS, ensure_secrets
from aigq_tasks.settings import load_settings


@pytest.fixture(autouse=True)
def _no_secrets_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in MAKERS:
        monkeypatch.delenv(name, raising=False)


def test_made_once_random_and_private(tmp_path: Path) -> None:
    first = ensure_secrets(tmp_path / "a")
    assert ensure_secrets(tmp_path / "a") == first
    other = ensure_secrets(tmp_path / "b")
    assert all(first[name] != other[name] for name in MAKERS)
    assert stat.S_IMODE((tmp_path / "a" / "secrets.env").stat().st_mode) == 0o600


def test_fernet_keys_are_what_cryptography_accepts(tmp_path: Path) -> None:
    secrets = ensure_secrets(tmp_path)
    for name in ("AIRFLOW__CORE__FERNET_KEY", "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY"):
        box = Fernet(secrets[name])
        assert box.decrypt(box.encrypt(b"text")) == b"text"


def test_the_environment_wins_and_is_not_written_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = ensure_secrets(tmp_path)
    monkeypatch.setenv("AIGQ_S3__SECRET_KEY", "of-the-environment")
    assert ensure_secrets(tmp_path) == {**stored, "AIGQ_S3__SECRET_KEY": "of-the-environment"}
    assert "of-the-environment" not in (tmp_path / "secrets.env").read_text()


def test_a_missing_secret_is_added_and_the_others_stay(tmp_path: Path) -> None:
    stored = ensure_secrets(tmp_path)
    path = tmp_path / "secrets.env"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if "FERNET" not in line))
    again = ensure_secrets(tmp_path)
    assert again["AIRFLOW__CORE__FERNET_KEY"] != stored["AIRFLOW__CORE__FERNET_KEY"]
    del stored["AIRFLOW__CORE__FERNET_KEY"], again["AIRFLOW__CORE__FERNET_KEY"]
    assert again == stored


def test_settings_read_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIGQ_STATE_DIR", str(tmp_path))
    secrets = ensure_secrets(tmp_path)
    settings = load_settings()
    assert settings.s3.access_key == secrets["AIGQ_S3__ACCESS_KEY"]
    assert settings.s3.secret_key.get_secret_value() == secrets["AIGQ_S3__SECRET_KEY"]
