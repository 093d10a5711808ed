"""Two days of the loop at its smallest, for the tests that look at what they made."""

from collections.abc import Iterator

import pytest
import servers
from smallest import DAYS, SMALLEST, release

from aigq_tasks.stages.context import Context


@pytest.fixture(scope="module")
def smallest_size() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SMALLEST.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def released(
    smallest_size: None, s3_server: servers.S3Server, mlflow_url: str, valkey_url: str
) -> Context:
    """A context in which both DAYS are released."""
    ctx = Context.open(servers.settings_for(s3_server, "whole-day", mlflow_url, valkey_url))
    release(ctx, DAYS)
    return ctx
