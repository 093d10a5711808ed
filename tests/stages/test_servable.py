"""The servable verdict on a small real release: what is wrong with it is found, and said."""

from dataclasses import replace
from datetime import date
from typing import Any

import pandas as pd
import pytest
from small_release import (
    DAY,
    store_files,
    taught_policy,
    x2q_table,
)

from aigq_tasks.context.queries import blocklist
from aigq_tasks.errors import AigqError, ServiceAbsent
from aigq_tasks.pipeline.context import Context
from aigq_tasks.pipeline.reading import model, record, table
from aigq_tasks.pipeline.runner import given_for, run_stage
from aigq_tasks.releases.promote import trial_of
from aigq_tasks.releases.publish import publish
from aigq_tasks.stages.servable import SERVABLE
from aigq_tasks.storage.ledger import Entry
from aigq_tasks.storage.objects import blob_key
from aigq_tasks.storage.tables import to_parquet

pytestmark = pytest.mark.integration
UNLOGGED = replace(SERVABLE, needs=("s3",))  # it only reports to MLflow


def faults(ctx: Context, entry: Entry, day: date) -> list[str]:
    """Why the release cannot serve, as the stage says."""
    stage = trial_of(entry.models)
    given = given_for(ctx, day, stage.reads)
    written = stage.compute(given, stage.settings(ctx.settings), day).records
    reasons: list[str] = written["servable.json"]["reasons"]
    return reasons


def with_model(ctx: Context, entry: Entry, kind: str, files: dict[str, bytes]) -> Entry:
    """The release with other files in place of one of its models."""
    return replace(
        entry, models=entry.models | {kind: store_files(ctx, f"other-{kind}", DAY, files).digest}
    )


def test_a_good_release_can_be_served(small: tuple[Context, Entry]) -> None:
    ctx, entry = small
    assert faults(ctx, entry, DAY) == []


def test_an_object_that_is_gone_is_the_reason(small: tuple[Context, Entry]) -> None:
    ctx, entry = small
    output = model(ctx, entry, "direct").outputs["model.safetensors"]
    weights = ctx.store.get_blob(output.digest)
    ctx.store.delete(blob_key(output.digest))
    try:
        (reason,) = faults(ctx, entry, DAY)
    finally:
        ctx.store.put_blob(weights)
    assert f"object {output.digest} is not in bucket" in reason


@pytest.mark.parametrize("keep", [0, 7, 100])
def test_weights_that_are_no_weights_are_a_reason_not_a_crash(
    small: tuple[Context, Entry], keep: int
) -> None:
    """Stored as they are, so every digest is right: the policy itself is broken."""
    ctx, entry = small
    policy = model(ctx, entry, "direct")
    files = {name: ctx.store.get_blob(out.digest) for name, out in policy.outputs.items()}
    files["model.safetensors"] = files["model.safetensors"][:keep]
    (reason,) = faults(ctx, with_model(ctx, entry, "direct", files), DAY)
    assert reason.startswith("direct: no language model at ")


def test_a_cache_without_anybody(small: tuple[Context, Entry]) -> None:
    ctx, entry = small
    nobody = table(ctx, model(ctx, entry, "u2q"), "u2q").head(0)
    empty = with_model(ctx, entry, "u2q", {"u2q.parquet": to_parquet(nobody)})
    assert faults(ctx, empty, DAY) == ["the u2q cache is empty"]


def test_absent_s3_is_no_verdict(
    small: tuple[Context, Entry], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refusal that only tells of an outage would be stored, and would stay."""
    ctx, entry = small

    def away(digest: str) -> bytes:
        raise ServiceAbsent("S3 does not answer")

    monkeypatch.setattr(ctx.store, "get_blob", away)
    with pytest.raises(ServiceAbsent):
        faults(ctx, entry, DAY)


def test_an_index_that_is_empty_or_holds_what_may_not_be_shown(
    small: tuple[Context, Entry],
) -> None:
    ctx, entry = small

    def reasons(index: pd.DataFrame) -> list[str]:
        files = {"x2q.parquet": to_parquet(index)}
        return faults(ctx, with_model(ctx, entry, "x2q", files), DAY)

    assert reasons(x2q_table("butter").head(0)) == ["the x2q index is empty"]
    blocked = sorted(blocklist())[0]
    assert reasons(x2q_table(blocked)) == ["the x2q index holds 1 queries that may not be shown"]


def test_a_cache_that_another_policy_wrote(small: tuple[Context, Entry]) -> None:
    ctx, entry = small
    cached = table(ctx, model(ctx, entry, "u2q"), "u2q")
    cached.loc[cached["user_id"] == "bob", "query"] = ["one", "two", "three"]
    other = with_model(ctx, entry, "u2q", {"u2q.parquet": to_parquet(cached)})
    assert faults(ctx, other, DAY) == ["u2q of bob is not what the policy writes"]


def test_a_policy_that_writes_nothing_that_may_be_shown(small: tuple[Context, Entry]) -> None:
    ctx, entry = small
    one = ctx.settings.generation.model_copy(update={"list_length": 1})
    ctx = replace(ctx, settings=ctx.settings.model_copy(update={"generation": one}))
    silent = with_model(ctx, entry, "direct", taught_policy(ctx, sorted(blocklist())[:1]))
    assert faults(ctx, silent, DAY) == [
        f"the policy writes nothing for {user}" for user in ("ann", "bob", "eve")
    ]


def test_a_stack_that_is_too_slow(small: tuple[Context, Entry]) -> None:
    ctx, entry = small
    strict = ctx.settings.servable.model_copy(update={"max_seconds": 0.0})
    slow = replace(ctx, settings=ctx.settings.model_copy(update={"servable": strict}))
    (reason,) = faults(slow, entry, DAY)
    assert reason.startswith("ranking takes 0.")
    assert reason.endswith("s of CPU a user, more than 0.00 s")


def test_the_verdict_is_stored_and_publish_obeys_it(
    small: tuple[Context, Entry], capsys: pytest.CaptureFixture[str]
) -> None:
    ctx, _ = small
    good = run_stage(UNLOGGED, ctx, DAY)
    assert record(ctx, good, "servable.json") == {"servable": True, "reasons": []}
    assert good.metrics["servable"] == 1.0
    strict = ctx.settings.servable.model_copy(update={"max_seconds": 0.0})
    slow: Any = replace(ctx, settings=ctx.settings.model_copy(update={"servable": strict}))
    bad = run_stage(UNLOGGED, slow, DAY)
    assert (bad.revision, bad.metrics["servable"]) == (2, 0.0)
    assert "ranking takes" in str(bad.metrics["servable_reasons"])
    before = ctx.ledger.entries()
    with pytest.raises(AigqError, match=r"release of 2017-11-06 cannot be served \(ranking takes"):
        publish(ctx, DAY, "who", "why")
    assert ctx.ledger.entries() == before
    # What refused it may have passed: a refusal is never up to date, a consent is. (It may measure
    # the very same time, and then it is the same revision.)
    capsys.readouterr()
    refused = run_stage(UNLOGGED, slow, DAY)
    assert "done in" in capsys.readouterr().out
    again = run_stage(UNLOGGED, ctx, DAY)
    assert (again.revision, again.metrics["servable"]) == (refused.revision + 1, 1.0)
    assert run_stage(UNLOGGED, ctx, DAY) == again
