"""Bootstrap and one day of the loop at the smallest size, against the real servers."""

from datetime import date, timedelta

import pytest
import servers

from aigq_tasks.errors import AigqError, OutsideTheLog
from aigq_tasks.recall import u2q
from aigq_tasks.settings import Settings
from aigq_tasks.stages.bootstrap import STEPS, bootstrap
from aigq_tasks.stages.context import Context
from aigq_tasks.stages.ctr import CtrStage
from aigq_tasks.stages.evaluate import EvaluateStage, evaluated
from aigq_tasks.stages.gate import GateStage
from aigq_tasks.stages.market import MarketStage
from aigq_tasks.stages.policy import PolicyStage
from aigq_tasks.stages.publish import DAILY_STAGES, publish
from aigq_tasks.stages.reading import need, record, table
from aigq_tasks.stages.recall import RecallStage
from aigq_tasks.stages.release import u2q_version
from aigq_tasks.stages.runner import Stage, run_stage
from aigq_tasks.stages.samples import SamplesStage
from aigq_tasks.stages.show import hints_of, report_rows
from aigq_tasks.stages.u2q import U2qStage
from aigq_tasks.storage.manifests import Manifest

pytestmark = pytest.mark.integration
EVE = date(2017, 10, 8)
DAY = EVE + timedelta(days=1)
STAGES: tuple[Stage, ...] = (
    MarketStage(),
    CtrStage(),
    RecallStage(),
    SamplesStage(),
    PolicyStage(),
    EvaluateStage(),
    GateStage(),
    U2qStage(),
)


def smallest(settings: Settings) -> Settings:
    """The same code on a tenth of the households and a few steps of everything."""
    policy = settings.policy
    return settings.model_copy(
        update={
            "bootstrap_day": EVE,
            "launch_days": 8,
            "market": settings.market.model_copy(update={"households": 300, "history_days": 14}),
            "samples": settings.samples.model_copy(update={"bootstrap_days": 3}),
            "recall": settings.recall.model_copy(update={"ebr_epochs": 1}),
            "ctr": settings.ctr.model_copy(update={"num_threads": 1}),
            "generation": settings.generation.model_copy(update={"list_length": 10}),
            "gate": settings.gate.model_copy(update={"min_user_days": 3}),
            "policy": policy.model_copy(
                update={
                    "threads": 1,
                    "sft": policy.sft.model_copy(update={"max_steps": 4}),
                    "grpo": policy.grpo.model_copy(update={"steps": 2, "prompts_per_step": 2}),
                }
            ),
        }
    )


def run_day(ctx: Context) -> dict[str, Manifest]:
    return {stage.name: run_stage(stage, ctx, DAY) for stage in STAGES}


@pytest.fixture(scope="module")
def released(
    tmp_path_factory: pytest.TempPathFactory,
    s3_server: servers.S3Server,
    mlflow_url: str,
    valkey_url: str,
) -> Context:
    """A context in which everything up to DAY is released, by way of the stages alone."""
    ctx = Context.open(
        smallest(servers.settings_for(s3_server, "whole-day", mlflow_url, valkey_url))
    )
    for step in STEPS:
        bootstrap(ctx, EVE, step)
    run_day(ctx)
    publish(ctx, DAY)
    return ctx


def test_the_day_is_released(released: Context) -> None:
    entries = released.ledger.entries()
    assert [entry.verdict for entry in entries[:3]] == ["bootstrap"] * 3
    last = entries[-1]
    assert (last.number, last.day, last.parent) == (4, DAY, 3)
    assert set(last.manifests) == set(DAILY_STAGES)
    verdict = record(released, need(released, "gate", DAY), "verdict.json")
    chosen = "policy" if verdict["accepted"] else "sft"
    day = DAY if verdict["accepted"] else EVE
    assert last.models["direct"] == need(released, chosen, day).digest
    assert last.models["sft"] == need(released, "sft", EVE).digest


def test_what_is_released_can_be_served(released: Context) -> None:
    entry = released.ledger.current()
    assert entry is not None
    users = table(released, need(released, "u2q", DAY), "u2q")["user_id"]
    with u2q.connect(released.settings.valkey.url) as client:
        cached = u2q.get(client, u2q_version(entry), users.iloc[0])
    assert cached is not None
    assert 0 < len(cached.queries) <= 10
    ranked = hints_of(released, entry, users.iloc[0], DAY + timedelta(days=1))
    assert ranked["rank"].tolist() == list(range(1, len(ranked) + 1))
    assert ranked["rank_score"].is_monotonic_decreasing
    assert report_rows(released)[0]["release"] == "4"


def test_a_second_run_changes_nothing(
    released: Context, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {stage: need(released, stage, DAY).digest for stage in DAILY_STAGES}
    objects = released.store.list("")
    again = run_day(released)
    publish(released, DAY)
    assert {stage: manifest.digest for stage, manifest in again.items()} == before
    assert released.store.list("") == objects
    assert capsys.readouterr().out.count("up to date") == len(STAGES) + 1


def test_a_fresh_run_gives_the_same_manifests(
    released: Context,
    s3_server: servers.S3Server,
    mlflow_url: str,
    valkey_url: str,
) -> None:
    """A backfill is a fold of the same function: other bucket, same bytes, policy included."""
    other = Context.open(
        smallest(servers.settings_for(s3_server, "once-more", mlflow_url, valkey_url))
    )
    for step in STEPS:
        bootstrap(other, EVE, step)
    for name, manifest in run_day(other).items():
        assert manifest.to_bytes() == need(released, name, DAY).to_bytes(), name


def test_held_out_users_are_not_trained_on(released: Context) -> None:
    _, scores = evaluated(released, DAY)
    trained = table(released, need(released, "samples", DAY), "samples")
    assert len(scores) > 0
    assert len(trained) > 0
    assert set(scores["user_id"]).isdisjoint(trained["user_id"])


def test_missing_inputs_and_days_say_what_to_do(released: Context) -> None:
    later = DAY + timedelta(days=3)
    before = released.store.list("")
    with pytest.raises(AigqError, match=r"market of .* run 'aigq market --day"):
        run_stage(CtrStage(), released, later)
    with pytest.raises(OutsideTheLog, match="outside the market's days"):
        run_stage(MarketStage(), released, date(2026, 1, 1))
    with pytest.raises(AigqError, match=r"policy of .* is missing"):
        run_stage(EvaluateStage(), released, later)
    assert released.store.list("") == before
