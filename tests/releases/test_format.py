"""What a version before left in the bucket: refused in one line that says what to do."""

from datetime import date

import pytest

from aigq_tasks.errors import AigqError
from aigq_tasks.pipeline.context import Context
from aigq_tasks.pipeline.preflight import preflight
from aigq_tasks.releases.rollback import rollback
from aigq_tasks.storage.ledger import Entry
from aigq_tasks.storage.manifests import Manifest

pytestmark = pytest.mark.integration
DAY = date(2017, 11, 6)


def release(ctx: Context, version: str) -> Entry:
    """A release of two results that this version of the package made."""
    made = [Manifest(stage=stage, day=DAY, version=version) for stage in ("market", "ctr")]
    digests = {manifest.stage: ctx.manifests.create(manifest).digest for manifest in made}
    return ctx.ledger.append(
        Entry(
            day=DAY,
            revision=1,
            parent=None,
            manifests=digests,
            models={"ctr": digests["ctr"]},
            verdict="accepted",
            code="c",
            config="d",
            who="w",
            why="test",
        )
    )


@pytest.mark.parametrize("version", ["0.1.0", "0.2.0"])
def test_a_state_of_an_older_version_is_refused(ctx: Context, version: str) -> None:
    preflight(("s3",), ctx)  # an empty bucket is nobody's
    release(ctx, version)
    before = ctx.store.list("")
    for use in (lambda: preflight(("s3",), ctx), lambda: rollback(ctx, 1, "ann", "clicks fell")):
        with pytest.raises(AigqError) as caught:
            use()
        line = str(caught.value)
        assert f"was made by aigq {version}" in line
        assert "start over with 'make clean', or name another bucket (AIGQ_S3__BUCKET)" in line
        assert "\n" not in line
    assert ctx.store.list("") == before


def test_a_state_of_this_version_goes_on(ctx: Context) -> None:
    release(ctx, "0.3.0")
    preflight(("s3",), ctx)
