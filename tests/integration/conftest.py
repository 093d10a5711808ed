"""Two days of the loop at its smallest, for the tests that look at what they made."""

from collections.abc import Iterator

import pytest
import servers
from smallest import DAYS, EVE, SMALLEST, run_day

from aigq_tasks.stages.bootstrap import STEPS, bootstrap
from aigq_tasks.stages.context import Context
from aigq_tasks.stages.publish import publish


@pytest.fixture(scope="module")
def smallest_size() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SMALLEST.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def released(
    smallest_size: None,
    s3_server: servers.S3Server,
    mlflow_url: str,
    valkey_url: str,
    request: pytest.FixtureRequest,
) -> Context:
    """A context in which both DAYS are released, by way of the stages alone, one by one."""
    bucket = request.path.stem.replace("_", "-")
    ctx = Context.open(servers.settings_for(s3_server, bucket, mlflow_url, valkey_url))
    for step in STEPS:
        bootstrap(ctx, EVE, step)
    for day in DAYS:
        run_day(ctx, day)
        publish(ctx, day)
    return ctx
