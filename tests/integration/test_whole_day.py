"""Bootstrap and two days of the loop at the smallest size, stage by stage."""

from dataclasses import replace
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import requests
import servers
from chaos import children, matrix, world
from chaos.cells import World
from smallest import DAY, DAYS, EVE, run_day

from aigq_tasks.errors import AigqError, OutsideTheLog
from aigq_tasks.recall import u2q, versions, x2q_source
from aigq_tasks.recall.stack import Scorer
from aigq_tasks.stages.ablation import VARIANTS, ablation
from aigq_tasks.stages.context import Context
from aigq_tasks.stages.ctr import CtrStage
from aigq_tasks.stages.evaluate import EvaluateStage, evaluated
from aigq_tasks.stages.market import MarketStage
from aigq_tasks.stages.plan import STAGES, plan, stages_of
from aigq_tasks.stages.publish import DAILY_STAGES, THINK_STAGES, publish
from aigq_tasks.stages.reading import log_window, need, read_behaviours, record, table
from aigq_tasks.stages.release import index_version
from aigq_tasks.stages.runner import run_stage
from aigq_tasks.stages.show import cached_list, print_hints, print_lookup, print_report, report_rows
from aigq_tasks.stages.study import study
from aigq_tasks.stages.think_samples import ThinkSamplesStage
from aigq_tasks.storage.ledger import Entry
from aigq_tasks.storage.manifests import Manifest
from aigq_tasks.storage.tables import from_parquet

pytestmark = pytest.mark.integration


def test_the_day_is_released(released: Context) -> None:
    entries = released.ledger.entries()
    assert [entry.verdict for entry in entries[:3]] == ["bootstrap"] * 3
    assert [entry.number for entry in entries] == [1, 2, 3, 4, 5]
    last = entries[3]
    assert (last.day, last.parent) == (DAY, 3)
    assert set(last.manifests) == {*DAILY_STAGES, "servable"}
    verdict = record(released, need(released, "gate", DAY), "verdict.json")
    chosen = "policy" if verdict["accepted"] else "sft"
    day = DAY if verdict["accepted"] else EVE
    assert last.models["direct"] == need(released, chosen, day).digest
    assert last.models["sft"] == need(released, "sft", EVE).digest
    assert last.models["think"] == need(released, "think-sft", EVE).digest
    assert last.models["x2q"] == need(released, "x2q", DAY).digest
    assert last.models["item-texts"] == need(released, "item-texts", DAY).digest


def test_think_is_renewed_on_its_day(released: Context) -> None:
    before, after = released.ledger.entries()[3:]
    verdicts = [record(released, need(released, "gate", day), "verdict.json") for day in DAYS]
    assert ["think" in verdict for verdict in verdicts] == [False, True]
    assert set(after.manifests) == {*DAILY_STAGES, *THINK_STAGES, "servable"}
    trained = need(released, "think-policy", DAYS[1])
    accepted = verdicts[1]["think"]["accepted"]
    assert after.models["think"] == (trained.digest if accepted else before.models["think"])
    assert float(trained.metrics["valid_lists"]) > 0
    assert need(released, "think-sft", EVE).outputs["model.safetensors"].digest != (
        trained.outputs["model.safetensors"].digest
    )


def test_the_rivals_stand_in_the_evaluation_as_they_were_scored(released: Context) -> None:
    for day in DAYS:
        rivals = table(released, need(released, "rivals", day), "scores")
        scores = table(released, need(released, "evaluate", day), "scores")
        known = scores["arm"].isin(rivals["arm"])
        assert set(scores["arm"][~known]) <= {"challenger", "think challenger"}
        assert {"champion", "sft", "think", "popularity"} <= set(rivals["arm"])
        order = ["arm", "user_id"]
        held = scores[known].sort_values(order, ignore_index=True)
        pd.testing.assert_frame_equal(held, rivals.sort_values(order, ignore_index=True))


def test_an_item_keeps_its_text(released: Context) -> None:
    days = (EVE, *DAYS)
    texts = [table(released, need(released, "item-texts", day), "item_texts") for day in days]
    for older, newer in pairwise(texts):
        assert len(newer) > len(older) > 0
        kept = older.merge(newer, on=["item_id", "facets", "text"])
        assert len(kept) == len(older)
    assert texts[0].groupby("facets")["text"].nunique().max() == 1


def test_what_is_released_can_be_served(
    released: Context, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = released.ledger.current()
    assert entry is not None
    users = table(released, need(released, "u2q", DAYS[-1]), "u2q")["user_id"]
    with versions.connect(released.settings.valkey.url) as client:
        cached = u2q.get(client, index_version(entry, "u2q"), users.iloc[0])
    assert cached is not None
    assert 0 < len(cached.queries) <= 5
    index = table(released, need(released, "x2q", DAYS[-1]), "x2q")
    with versions.connect(released.settings.valkey.url) as client:
        found = x2q_source.lookup(
            client, index_version(entry, "x2q"), index["trigger"].head(3).tolist()
        )
    assert all(found.values())
    print_lookup(released, [index["trigger"][0], "Nothing like this!"], None)
    printed = capsys.readouterr().out
    assert index["query"][0] in printed
    assert "nothing like this" in printed
    own = cached_list(released, entry, users.iloc[0])
    assert own == [query for query, _ in cached.queries]
    print_hints(released, users.iloc[0], None)
    title, wrote, _, *rows = capsys.readouterr().out.splitlines()
    served = f"release 5 ({DAYS[-1]}, {entry.verdict})"
    assert title == f"{users.iloc[0]} on {DAYS[-1] + timedelta(days=1)} · {served}"
    assert wrote == f"AIGQ-Direct wrote: {', '.join(own)}"
    assert [int(row.split()[0]) for row in rows] == list(range(1, 11))
    scores = [float(row.split()[-1]) for row in rows]
    assert scores == sorted(scores, reverse=True)


def test_the_report_has_every_arm(released: Context, tmp_path: Path) -> None:
    rows = report_rows(released)
    assert [row["release"] for row in rows] == ["4", "5"]
    assert "-" not in {value for row in rows for value in row.values()}
    print_report(released, tmp_path / "report.md")
    written = (tmp_path / "report.md").read_text()
    assert all(f"\n| {arm} | " in written for arm in ("challenger", "think", "think challenger"))


def test_a_second_run_changes_nothing(
    released: Context, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {stage: need(released, stage, DAY).digest for stage in (*DAILY_STAGES, "servable")}
    objects = released.store.list("")
    again = run_day(released, DAY)
    publish(released, DAY)
    assert {stage: manifest.digest for stage, manifest in again.items()} == before
    assert released.store.list("") == objects
    assert capsys.readouterr().out.count("up to date") == len(stages_of(released, DAY)) + 1


def test_a_plan_tells_what_would_run_and_why(released: Context) -> None:
    assert not [step for step in plan(released, *DAYS) if step.why]
    gate = released.settings.gate.model_copy(update={"max_drop": 0.5})
    lenient = replace(released, settings=released.settings.model_copy(update={"gate": gate}))
    found = {(step.day, step.stage): step.why for step in plan(lenient, *DAYS) if step.why}
    assert found[DAY, "gate"] == "changed: setting max_drop"
    assert found[DAY, "u2q"] == "gate would run"
    assert (DAY, "policy") not in found
    assert found[DAY, "publish"] == f"shelved: {DAYS[1]} is live"
    # The next day starts from that day's release: all of it would run, and go live.
    assert found[DAYS[1], "market"] == f"it starts from the release of {DAY}, which changes"
    assert found[DAYS[1], "publish"] == "goes live"
    later = DAYS[1] + timedelta(days=1)
    assert {step.why for step in plan(released, later, later) if step.stage == "market"} == {
        "it never ran"
    }


def test_a_study_trains_beside_the_releases(
    released: Context, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = released.ledger.entries()
    seeds = [5, released.settings.policy.seed]  # one to be trained, the one that was released
    study(released, DAYS[-1], ["il-grpo"], seeds, tmp_path / "study.md")
    written = (tmp_path / "study.md").read_text()
    assert all(f"| {name} | " in written for name in (*seeds, "all", "il-grpo"))
    first, second = (need(released, "study-policy-il-grpo-5", day) for day in DAYS)
    assert first.config["seed"] == 5
    assert first.inputs["parent"] == need(released, "study-sft-5", EVE).digest
    assert second.inputs["parent"] == first.digest
    capsys.readouterr()
    study(released, DAYS[-1], ["il-grpo"], seeds, tmp_path / "study.md")
    # Per arm its IL-SFT and two evaluations; two updates of the trained one.
    assert capsys.readouterr().out.count("up to date") == 2 * 3 + 2
    assert released.ledger.entries() == entries


def test_an_ablation_trains_beside_the_releases(
    released: Context,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of the variants those whose steps differ; tests/stages/test_ablation.py has the others."""
    chosen = [v for v in VARIANTS if v.name in ("direct", "think") or v.titled or v.free]
    monkeypatch.setattr("aigq_tasks.stages.ablation.VARIANTS", chosen)
    entries = released.ledger.entries()
    ablation(released, DAY, [5], tmp_path / "ablation.md")
    written = (tmp_path / "ablation.md").read_text()
    assert all(f"| {variant.name} | " in written for variant in chosen)
    sft = [need(released, f"ablation-sft-{name}-5", EVE) for name in ("direct", "think")]
    assert sft[0].inputs != sft[1].inputs
    assert released.manifests.head("ablation-sft-think-free-decoding-5", EVE) is None
    capsys.readouterr()
    ablation(released, DAY, [5], tmp_path / "ablation.md")
    titled = released.settings.samples.bootstrap_days
    assert capsys.readouterr().out.count("up to date") == 2 * len(chosen) + titled
    assert (tmp_path / "ablation.md").read_text() == written
    assert released.ledger.entries() == entries


@pytest.mark.parametrize("stage", ["samples", "think-samples"])
def test_held_out_users_are_not_trained_on(released: Context, stage: str) -> None:
    _, scores = evaluated(released, DAYS[1])
    trained = table(released, need(released, stage, DAYS[1]), "samples")
    assert len(scores) > 0
    assert len(trained) > 0
    assert set(scores["user_id"]).isdisjoint(trained["user_id"])


def test_missing_inputs_and_days_say_what_to_do(released: Context) -> None:
    later = DAY + timedelta(days=4)
    before = released.store.list("")
    with pytest.raises(AigqError, match=r"market of .* run 'aigq market --day"):
        run_stage(CtrStage(), released, later)
    with pytest.raises(OutsideTheLog, match="outside the market's days"):
        run_stage(MarketStage(), released, date(2026, 1, 1))
    with pytest.raises(AigqError, match=r"policy of .* is missing"):
        run_stage(EvaluateStage(), released, later)
    assert released.store.list("") == before


def with_teacher(ctx: Context, url: str, model: str) -> Context:
    teacher = ctx.settings.teacher.model_copy(
        update={"url": f"{url}/v1", "model": model, "concurrency": 2, "retries": 0}
    )
    return replace(ctx, settings=ctx.settings.model_copy(update={"teacher": teacher}))


def test_a_dead_language_model_costs_nothing_twice(released: Context, tmp_path: Path) -> None:
    stage = ThinkSamplesStage()
    with servers.chat_server(tmp_path) as url:
        undisturbed = stage.compute(with_teacher(released, url, "good"), DAY)
    assert undisturbed.tags == {"teacher": "good"}
    asked = undisturbed.metrics["llm/explain/prompt_tokens"]
    assert isinstance(asked, float)
    assert asked > 0
    # Another model's name, so none of the answers above count; the server dies on the way.
    with servers.chat_server(tmp_path, dies_after=5) as url:
        dying = with_teacher(released, url, "better")
        with pytest.raises(AigqError, match="those are kept: mend it and run the same command"):
            run_stage(stage, dying, DAY)
    assert released.manifests.head(stage.name, DAY) is None
    kept = len(released.store.list("llm/"))
    with servers.chat_server(tmp_path) as url:
        resumed = run_stage(stage, with_teacher(released, url, "better"), DAY)
        questions = sum(requests.get(f"{url}/asked", timeout=5).json().values())
    assert questions == len(released.store.list("llm/")) - kept  # nothing was asked again
    samples = table(released, resumed, "samples")
    pd.testing.assert_frame_equal(samples, from_parquet(undisturbed.files["samples.parquet"]))


def test_killed_stages_recover(released: Context, tmp_path: Path) -> None:
    """Drawn cells of the crash matrix on the real stages; `make chaos` has them all."""
    children.warm(*world.IMPORTED)
    whole = World(released.settings, DAYS[1], STAGES, world.publish_day, tmp_path)
    cells = [cell for cell in matrix.cells(STAGES) if cell.stage != "gc"]
    outcomes = list(matrix.run_cells(whole, matrix.some(cells, count=6, seed=3)))
    assert len(outcomes) == 6


def likes_what_nobody_asks(ctx: Context, entry: Entry, ctr: Manifest, day: date) -> Scorer:
    """A broken click model: sure clicks on what no log has ever held, none on the rest."""
    history = read_behaviours(ctx, log_window(ctx, day - timedelta(days=1)), day)
    known = set(history["content"])
    return lambda users, queries: np.array([float(query not in known) for query in queries])


def test_a_broken_click_model_is_found_out_within_a_day(
    released: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last test here: it releases one more day."""
    day = DAYS[-1] + timedelta(days=1)
    champion = released.ledger.entries()[-1].models["direct"]
    for stage in ("policy", "arms"):
        monkeypatch.setattr(f"aigq_tasks.stages.{stage}.ctr_scorer", likes_what_nobody_asks)
    eager = released.with_grpo(steps=20, prompts_per_step=4, learning_rate=1e-3)
    run_day(eager, day)
    verdict = record(released, need(released, "gate", day), "verdict.json")
    assert not verdict["accepted"]
    assert any("reward hacking: off-catalogue queries" in why for why in verdict["reasons"])
    publish(eager, day)
    last = released.ledger.entries()[-1]
    assert (last.day, last.verdict) == (day, "rejected")
    assert last.models["direct"] == champion
