"""The size of the demo: what `aigq demo` makes of a new state, and of one that it finds."""

import tomllib
from pathlib import Path

import pytest
import servers

from aigq_tasks.cli.demo import DAYS, FULL_DAYS
from aigq_tasks.errors import AigqError
from aigq_tasks.pipeline.context import Context
from aigq_tasks.services.demo import SMALLER, choose_size
from aigq_tasks.settings import OF_STATE, Settings, load_settings
from aigq_tasks.storage.canonical import leaves

pytestmark = pytest.mark.integration


@pytest.fixture
def state(s3_server: servers.S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of a new state: an empty folder, an empty bucket."""
    for name, value in {
        "AIGQ_STATE_DIR": str(tmp_path),
        "AIGQ_S3__ENDPOINT": s3_server.url,
        "AIGQ_S3__BUCKET": "demo-size",
        "AIGQ_S3__ACCESS_KEY": s3_server.access_key,
        "AIGQ_S3__SECRET_KEY": s3_server.secret_key,
    }.items():
        monkeypatch.setenv(name, value)
    servers.delete_bucket(s3_server, "demo-size")
    return load_settings()


def test_a_new_state_gets_the_smaller_size(state: Settings) -> None:
    choose_size(state, full=False)
    smaller = leaves(tomllib.loads(SMALLER.read_text()))
    now = leaves(load_settings().model_dump(mode="json"))
    assert {name: now[name] for name in smaller} == smaller
    whole = leaves(state.model_dump(mode="json"))
    assert all(whole[name] != value for name, value in smaller.items())
    choose_size(load_settings(), full=False)  # again: as it was
    with pytest.raises(AigqError, match=r"is of the smaller size: `make clean`"):
        choose_size(load_settings(), full=True)


def test_the_full_size_is_the_defaults(state: Settings) -> None:
    choose_size(state, full=True)
    assert load_settings() == state
    assert not (state.state_dir / OF_STATE).exists()


def test_either_size_ends_with_the_update_of_aigq_think(state: Settings) -> None:
    assert state.think.update_days == FULL_DAYS
    choose_size(state, full=False)
    assert load_settings().think.update_days == DAYS


def test_a_state_that_was_begun_keeps_its_size(state: Settings) -> None:
    Context.open(state).store.put_once("manifests/logs/2017-11-05/1.json", b"{}")
    choose_size(state, full=False)
    assert load_settings() == state
