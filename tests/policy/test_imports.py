"""The package by itself: what comes with it, and what does not."""

import subprocess
import sys

import pytest

import aigq_tasks.policy

# Not installed: TRL and accelerate would import some of them where they are.
ALONE = """
import sys
sys.modules |= dict.fromkeys(["airflow", "boto3", "mlflow", "duckdb", "lightgbm", "valkey"])
"""
ROOMS = "print(*sorted({name.split('.')[1] for name in sys.modules if name[:11] == 'aigq_tasks.'}))"


def told(code: str) -> str:
    command = [sys.executable, "-c", ALONE + code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip()


def test_the_trainer_comes_without_storage_settings_pipeline_and_airflow() -> None:
    names = ", ".join(aigq_tasks.policy.__all__)
    assert told(f"from aigq_tasks.policy import {names}\n{ROOMS}") == "context errors policy"


def test_settings_come_without_torch() -> None:
    heavy = "print([name for name in ('torch', 'transformers', 'trl') if name in sys.modules])"
    assert told(f"import aigq_tasks.policy.config\n{heavy}") == "[]"


def test_a_name_that_it_lacks_is_the_usual_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Trainer'"):
        aigq_tasks.policy.Trainer  # noqa: B018
