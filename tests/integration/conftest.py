"""Two days of the loop at its smallest, for the tests that look at what they made."""

from collections.abc import Iterator

import pytest
import servers
from smallest import DAYS, SMALLEST, release
from watching import Seen, watched

from aigq_tasks.pipeline.context import Context


@pytest.fixture(scope="module")
def smallest_size() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SMALLEST.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def days_under_watch(
    smallest_size: None, s3_server: servers.S3Server, mlflow_url: str, valkey_url: str
) -> tuple[Context, Seen]:
    """A context in which both DAYS are released, and the settings that their stages looked at."""
    ctx = Context.open(servers.settings_for(s3_server, "whole-day", mlflow_url, valkey_url))
    with watched() as seen:
        release(ctx, DAYS)
    return ctx, seen


@pytest.fixture(scope="module")
def released(days_under_watch: tuple[Context, Seen]) -> Context:
    """A context in which both DAYS are released."""
    return days_under_watch[0]


@pytest.fixture(scope="module")
def looked_at(days_under_watch: tuple[Context, Seen]) -> Seen:
    """Stage -> dotted names of the settings that its computations have read."""
    return days_under_watch[1]
