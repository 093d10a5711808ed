"""The Dags as Airflow's Dag processor loads them, with an empty Airflow home and no server."""

import os
import tempfile
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]

# Airflow reads its home at import and makes a folder there.
os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp(prefix="aigq-airflow-"))
os.environ.setdefault("AIRFLOW__CORE__LOAD_EXAMPLES", "False")


@pytest.fixture(scope="session")
def dag_bag() -> Any:
    """All Dags of `dags/`, loaded by Airflow."""
    from airflow.dag_processing.dagbag import BundleDagBag

    folder = REPOSITORY / "dags"
    return BundleDagBag(dag_folder=folder, bundle_path=folder, bundle_name="dags")


@pytest.fixture(scope="session")
def daily(dag_bag: Any) -> Any:
    return dag_bag.dags["hintq_daily"]


@pytest.fixture(scope="session")
def bootstrap(dag_bag: Any) -> Any:
    return dag_bag.dags["hintq_bootstrap"]
