"""What a person is asked, and what a rejection leaves, on real S3 and Valkey."""

from datetime import date, timedelta
from typing import Any

import pandas as pd
import pytest

from aigq_tasks.errors import NothingToDo
from aigq_tasks.pipeline.context import Context
from aigq_tasks.recall import u2q
from aigq_tasks.releases.approval import comparison, decline
from aigq_tasks.releases.live import publish_release
from aigq_tasks.serving.indexes import connect, get_u2q, version_of
from aigq_tasks.stages.day import steps_of
from aigq_tasks.storage.canonical import to_json
from aigq_tasks.storage.ledger import Entry
from aigq_tasks.storage.manifests import Blob, Manifest
from aigq_tasks.storage.tables import to_parquet

pytestmark = pytest.mark.integration
DAY = date(2017, 11, 6)  # AIGQ-Think is not renewed on it
VERDICT = {"accepted": True, "reasons": ["valid lists: 1.0000, not below 0.9500"], "ctr_faults": []}
RESULTS = {
    arm: {"query_hr_30": {"mean": mean, "low": mean - 0.02, "high": mean + 0.02, "n": 200.0}}
    for arm, mean in (
        *(("challenger", 0.43), ("champion", 0.41), ("popularity", 0.2)),
        *(("interleaved", 0.45), ("stack without AIGQ", 0.46)),
    )
}
for arm, mean in (("challenger", 0.62), ("champion", 0.60)):
    RESULTS[arm]["exposed_hr_30"] = {"mean": mean, "low": mean - 0.02, "high": mean + 0.02, "n": 9}


def _land(ctx: Context, stage: str, day: date, files: dict[str, bytes] | None = None) -> str:
    outputs = {
        name: Blob(ctx.store.put_blob(data), len(data)) for name, data in (files or {}).items()
    }
    return ctx.manifests.create(Manifest(stage=stage, day=day, outputs=outputs)).digest


def _indexes(day: date, word: str) -> dict[str, dict[str, bytes]]:
    index = pd.DataFrame([("tea", 1, word, 0.5)], columns=["trigger", "rank", "query", "score"])
    lists = u2q.build({"ann": [word]}, day)
    return {"u2q": {"u2q.parquet": to_parquet(lists)}, "x2q": {"x2q.parquet": to_parquet(index)}}


@pytest.fixture
def parent(ctx: Context) -> Entry:
    """The release that serves the day."""
    eve = DAY - timedelta(days=1)
    models = {kind: _land(ctx, kind, eve, files) for kind, files in _indexes(eve, "old").items()}
    models |= {kind: _land(ctx, kind, eve) for kind in ("policy", "ctr", "recall")}
    models["direct"] = models.pop("policy")
    words: dict[str, Any] = {"verdict": "bootstrap", "code": "", "config": "", "who": "", "why": ""}
    return publish_release(ctx, Entry(day=eve, revision=1, parent=None, models=models, **words))


@pytest.fixture
def _ran(ctx: Context, parent: Entry) -> None:
    """All stages of the day before publish."""
    files = {
        **_indexes(DAY, "new"),
        "gate": {"verdict.json": to_json(VERDICT)},
        "evaluate": {"results.json": to_json(RESULTS)},
        "servable": {"servable.json": to_json({"servable": True, "reasons": []})},
    }
    for step in steps_of(ctx.settings, DAY):
        _land(ctx, step.name, DAY, files.get(step.name))


@pytest.mark.usefixtures("_ran")
def test_the_question_compares_challenger_and_champion(ctx: Context) -> None:
    assert comparison(ctx, DAY) == (
        "The release of 2017-11-06 would take the place of release 1.\n\n"
        "### AIGQ-Direct: accepted by the gate\n\n"
        "- valid lists: 1.0000, not below 0.9500\n\n"
        "| metric (mean, 95 % interval) | challenger | champion | interleaved "
        "| stack without AIGQ |\n"
        "| --- | --- | --- | --- | --- |\n"
        "| exposed_hr_30 (exposure-biased) | 0.6200 [0.6000, 0.6400] | 0.6000 [0.5800, 0.6200] "
        "| - | - |\n"
        "| query_hr_30 | 0.4300 [0.4100, 0.4500] | 0.4100 [0.3900, 0.4300] "
        "| 0.4500 [0.4300, 0.4700] | 0.4600 [0.4400, 0.4800] |"
    )


@pytest.mark.usefixtures("_ran")
def test_what_changes_no_policy_asks_nobody(ctx: Context) -> None:
    _land(ctx, "gate", DAY, {"verdict.json": to_json({**VERDICT, "accepted": False})})
    with pytest.raises(NothingToDo, match="no challenger of 2017-11-06 was accepted"):
        comparison(ctx, DAY)


@pytest.mark.usefixtures("_ran")
def test_what_cannot_be_served_asks_nobody(ctx: Context) -> None:
    verdict = to_json({"servable": False, "reasons": ["the x2q index is empty"]})
    _land(ctx, "servable", DAY, {"servable.json": verdict})
    with pytest.raises(NothingToDo, match="cannot be served"):
        comparison(ctx, DAY)


@pytest.mark.usefixtures("_ran")
def test_a_rejection_stands_in_the_ledger_and_changes_nothing(ctx: Context, parent: Entry) -> None:
    entry = decline(ctx, DAY, "ada", "lists look odd")
    assert (entry.number, entry.day, entry.parent) == (2, DAY, 1)
    assert (entry.verdict, entry.who, entry.why) == ("rejected", "ada", "lists look odd")
    assert entry.models == parent.models
    assert entry.manifests["policy"] == ctx.manifests.head("policy", DAY).digest  # what was refused
    with connect(ctx.settings.valkey.url) as client:
        version = version_of(ctx.ledger.current().models["u2q"])
        assert get_u2q(client, version, "ann").queries == [("old", 1.0)]
    # The next day goes on from what is live.
    assert ctx.ledger.parent_of(DAY + timedelta(days=1)).models == parent.models

    again = decline(ctx, DAY, "ben", "me too")
    assert (again, len(ctx.ledger.entries())) == (entry, 2)
