"""Secrets of one installation. They come from the environment, or are made once at random and
kept in `<state_dir>/secrets.env` (mode 0600), where `aigq_tasks.settings` finds its own.
"""

import base64
import os
import secrets
from collections.abc import Callable
from pathlib import Path

FILE = "secrets.env"


def _fernet_key() -> str:
    """32 random bytes in URL-safe base64, the form `cryptography.fernet` reads."""
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()


MAKERS: dict[str, Callable[[], str]] = {
    "AIGQ_S3__ACCESS_KEY": lambda: secrets.token_hex(10),
    "AIGQ_S3__SECRET_KEY": lambda: secrets.token_hex(20),
    "AIGQ_WEBHOOK__SECRET": lambda: secrets.token_hex(32),
    "AIRFLOW__API__SECRET_KEY": lambda: secrets.token_hex(32),
    "AIRFLOW__API_AUTH__JWT_SECRET": lambda: secrets.token_hex(64),
    "AIRFLOW__CORE__FERNET_KEY": _fernet_key,
    "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": _fernet_key,
}


def ensure_secrets(state_dir: Path) -> dict[str, str]:
    """Every secret the services need: the environment's value where it has one, else the one
    in `<state_dir>/secrets.env`, else a new random one, which is added to that file.

    A secret set in the environment is never written to disk.
    """
    path = state_dir / FILE
    stored = _read(path)
    made = {
        name: make()
        for name, make in MAKERS.items()
        if name not in stored and not os.environ.get(name)
    }
    if made:
        stored |= made
        _write(path, stored)
    return {name: os.environ.get(name) or stored[name] for name in MAKERS}


def _read(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    lines = path.read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def _write(path: Path, values: dict[str, str]) -> None:
    """Whole file or nothing, and never readable by others, not even for a moment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write("# Made by `aigq up`; read by aigq_tasks.settings. Do not share.\n")
        file.writelines(f"{name}={value}\n" for name, value in sorted(values.items()))
    part.replace(path)
