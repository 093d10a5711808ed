"""What a promoted model changes, on a small real release: made anew, and tried. What MLflow and
the webhook have to do with it is in tests/integration."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pandas as pd
import pytest
import servers
from small_release import DAY, EVE, small_release, small_settings, store_files

from aigq_tasks.pipeline.context import Context
from aigq_tasks.pipeline.reading import record, table
from aigq_tasks.pipeline.runner import run_stage
from aigq_tasks.releases.promote import remade_by, trial_of
from aigq_tasks.storage.ledger import Entry
from aigq_tasks.storage.manifests import Manifest

pytestmark = pytest.mark.integration
Small = tuple[Context, Entry]


@pytest.fixture(scope="module")
def small(s3_server: servers.S3Server) -> Iterator[Small]:
    bucket = "small-promotion"
    with pytest.MonkeyPatch.context() as patch:
        ctx = Context.open(small_settings(s3_server, bucket, "redis://127.0.0.1:1", patch))
    for back in (2, 3):  # views are counted over all days that there are
        store_files(ctx, "logs", EVE - timedelta(days=back), {})
    yield ctx, small_release(ctx)
    servers.delete_bucket(s3_server, bucket)


def remade(small: Small, kind: str) -> tuple[Manifest, Manifest]:
    """What the release's own model of that kind makes when it is promoted under another digest,
    and the trial of it."""
    ctx, base = small
    own = ctx.manifests.get(base.models[kind])
    other = ctx.manifests.create(replace(own, stage=f"another-{kind}")).digest
    stage = replace(remade_by(kind, base, other), needs=("s3",))
    made = run_stage(stage, ctx, DAY)
    place = made.stage.removeprefix("promote-")
    models = base.models | {kind: other, place: made.digest}
    trial = run_stage(replace(trial_of(models), needs=("s3",)), ctx, DAY)
    assert {key: trial.inputs[key] for key in models if key in trial.inputs} == {
        key: digest for key, digest in models.items() if key in trial.inputs
    }
    assert other in made.inputs.values()
    return made, trial


def test_a_promoted_direct_writes_the_lists_anew(small: Small) -> None:
    ctx, base = small
    made, trial = remade(small, "direct")
    assert (made.stage, trial.stage) == ("promote-u2q", "promote-servable")
    assert made.inputs["release u2q"] == base.models["u2q"]
    lists = table(ctx, ctx.manifests.get(base.models["u2q"]), "u2q")
    pd.testing.assert_frame_equal(table(ctx, made, "u2q"), lists)  # the same weights
    assert record(ctx, trial, "servable.json") == {"servable": True, "reasons": []}
    assert "gate" not in trial.inputs


def test_a_promoted_think_reasons_anew(small: Small) -> None:
    ctx, base = small
    made, _ = remade(small, "think")
    assert made.stage == "promote-x2q"
    assert made.inputs["ctr"] == base.models["ctr"]
    parent = ctx.ledger.parent_of(DAY)
    assert parent is not None
    # Of others it keeps what was reasoned until the day before, as the stage of the day does.
    assert made.inputs["release x2q"] == parent.models["x2q"]
    kept = table(ctx, ctx.manifests.get(parent.models["x2q"]), "ties")
    assert set(kept["user_id"]) <= set(table(ctx, made, "ties")["user_id"])


def test_a_promoted_click_model_scores_what_was_reasoned(small: Small) -> None:
    ctx, base = small
    made, _ = remade(small, "ctr")
    assert made.stage == "promote-x2q"
    old = ctx.manifests.get(base.models["x2q"])
    pd.testing.assert_frame_equal(table(ctx, made, "ties"), table(ctx, old, "ties"))
    assert set(table(ctx, made, "x2q")["trigger"]) == {"milk"}
