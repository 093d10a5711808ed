"""The small release, made once for the tests of the stages that read one."""

from collections.abc import Iterator

import pytest
import servers
from small_release import small_release, small_settings

from aigq_tasks.pipeline.context import Context
from aigq_tasks.storage.ledger import Entry


@pytest.fixture(scope="session")
def small(s3_server: servers.S3Server, valkey_url: str) -> Iterator[tuple[Context, Entry]]:
    """A context, and the release that its results make; tests leave both as they are."""
    bucket = "small-release"
    with pytest.MonkeyPatch.context() as patch:
        ctx = Context.open(small_settings(s3_server, bucket, valkey_url, patch))
    yield ctx, small_release(ctx)
    servers.delete_bucket(s3_server, bucket)
