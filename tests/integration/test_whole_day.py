"""Bootstrap and two days of the loop at the smallest size, stage by stage."""

from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import requests
import servers
from chaos import children, matrix, world
from smallest import DAY, DAYS, EVE, WHO, run_day
from watching import Seen, dict_of

from aigq_tasks.cli.printing import print_hints, print_lookup, print_report
from aigq_tasks.errors import AigqError, OutsideTheLog
from aigq_tasks.pipeline.context import Context
from aigq_tasks.pipeline.reading import need, record, table
from aigq_tasks.pipeline.runner import given_for, run_stage
from aigq_tasks.recall.stack import Scorer
from aigq_tasks.releases.bootstrap import FIRST_STAGES
from aigq_tasks.releases.plan import plan
from aigq_tasks.releases.publish import publish
from aigq_tasks.reports.days import report_rows
from aigq_tasks.reports.hints import cached_list
from aigq_tasks.research.ab import ab, people_of, report
from aigq_tasks.research.ablation import ablation
from aigq_tasks.research.arms import ARMS, branch_of
from aigq_tasks.research.judging import RULES
from aigq_tasks.research.study import study
from aigq_tasks.research.variants import VARIANTS
from aigq_tasks.serving import indexes
from aigq_tasks.settings import Settings
from aigq_tasks.stages import day as days
from aigq_tasks.stages.click_model import CTR
from aigq_tasks.stages.evaluate import EVALUATE
from aigq_tasks.stages.land import LOGS
from aigq_tasks.stages.think_samples import THINK_SAMPLES
from aigq_tasks.storage.canonical import leaves
from aigq_tasks.storage.tables import from_parquet, to_parquet

# Alarms that are looked at only while the predicted clicks rise.
SOMETIMES = {"gate": {f"limits.alarms.{name}" for name in ("hit", "valid", "diversity")}}
DAILY = {step.name for step in days.DAY if not step.think}
ALL = {step.name for step in days.DAY}

pytestmark = pytest.mark.integration


def test_the_day_is_released(released: Context) -> None:
    entries = released.ledger.entries()
    assert [entry.verdict for entry in entries[:3]] == ["bootstrap"] * 3
    assert [entry.number for entry in entries] == [1, 2, 3, 4, 5]
    last = entries[3]
    assert (last.day, last.parent) == (DAY, 3)
    assert set(last.manifests) == DAILY
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
    assert set(after.manifests) == ALL
    trained = need(released, "think-policy", DAYS[1])
    accepted = verdicts[1]["think"]["accepted"]
    assert after.models["think"] == (trained.digest if accepted else before.models["think"])
    assert float(trained.metrics["valid_lists"]) > 0
    assert need(released, "think-sft", EVE).outputs["model.safetensors"].digest != (
        trained.outputs["model.safetensors"].digest
    )


def test_a_stage_sees_no_setting_that_it_does_not_use(looked_at: Seen) -> None:
    """A slice is no wider than what its computation reads: else a setting that changes nothing
    would make the stage run again."""
    unused = {}
    for stage in [*(step.stage for step in days.DAY), *FIRST_STAGES]:
        sliced = set(leaves(dict_of(stage.settings(Settings()))))
        unused[stage.name] = sliced - looked_at[stage.name] - SOMETIMES.get(stage.name, set())
    assert {name: names for name, names in unused.items() if names} == {}


def test_the_rivals_stand_in_the_evaluation_as_they_were_scored(released: Context) -> None:
    for day in DAYS:
        rivals = table(released, need(released, "rivals", day), "scores")
        scores = table(released, need(released, "evaluate", day), "scores")
        known = scores["arm"].isin(rivals["arm"])
        assert set(scores["arm"][~known]) <= {"challenger", "think challenger"}
        assert {"champion", "sft", "think", "popularity", *RULES} <= set(rivals["arm"])
        counted = table(released, need(released, "evaluate", day), "variety")
        assert set(counted["arm"]) == set(scores["arm"])
        order = ["arm", "user_id"]
        held = scores[known].sort_values(order, ignore_index=True)
        pd.testing.assert_frame_equal(held, rivals.sort_values(order, ignore_index=True))


def test_the_gate_judges_the_days_behind_too(released: Context) -> None:
    """Beside IL-SFT and, as the line is younger than a week, its oldest release: the same."""
    entries = {entry.day: entry for entry in released.ledger.entries()}
    for behind, day in enumerate(DAYS):
        policies = record(released, need(released, "evaluate", day), "policies.json")
        sft = {"digest": entries[EVE].models["direct"], "day": EVE.isoformat()}
        assert policies["sft"] == policies["week ago"] == sft
        eve = entries[day - timedelta(days=1)]
        assert policies["champion"]["digest"] == eve.models["direct"]
        assert policies["challenger"]["digest"] == need(released, "policy", day).digest
        gate = need(released, "gate", day)
        lines = {key for key in gate.inputs if key.startswith("line of")}
        assert len(lines) == (2 if behind else 0)
        verdict = record(released, gate, "verdict.json")
        for side in ("champion", "challenger"):
            one, other = verdict["anchors"][side]
            assert one["bounds"] == other["bounds"]
            assert one["bounds"] is None or one["bounds"]["days"] <= behind + 1
        assert {"distinct_queries", "near_duplicates"} <= {own["name"] for own in verdict["checks"]}


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
    with indexes.connect(released.settings.valkey.url) as client:
        version = indexes.version_of(entry.models["u2q"])
        cached = indexes.get_u2q(client, version, users.iloc[0])
    assert cached is not None
    assert 0 < len(cached.queries) <= 5
    index = table(released, need(released, "x2q", DAYS[-1]), "x2q")
    with indexes.connect(released.settings.valkey.url) as client:
        version = indexes.version_of(entry.models["x2q"])
        found = indexes.lookup_x2q(client, version, index["trigger"].head(3).tolist())
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
    before = {name: need(released, name, DAY).digest for name in DAILY}
    objects = released.store.list("")
    again = run_day(released, DAY)
    publish(released, DAY, **WHO)
    assert {stage: manifest.digest for stage, manifest in again.items()} == before
    assert released.store.list("") == objects
    assert capsys.readouterr().out.count("up to date") == len(DAILY) + 1


def test_a_plan_tells_what_would_run_and_why(released: Context) -> None:
    assert not [step for step in plan(released, *DAYS) if step.why]
    gate = released.settings.gate.model_copy(update={"max_drop": 0.5})
    lenient = released.changed(lambda settings: settings.model_copy(update={"gate": gate}))
    found = {(step.day, step.stage): step.why for step in plan(lenient, *DAYS) if step.why}
    assert found[DAY, "gate"] == "changed: setting limits.max_drop"
    assert found[DAY, "u2q"] == "gate would run"
    assert (DAY, "policy") not in found
    assert found[DAY, "publish"] == f"shelved: {DAYS[1]} is live"
    # The next day starts from that day's release: all of it would run, and go live.
    assert found[DAYS[1], "logs"] == f"it starts from the release of {DAY}, which changes"
    assert found[DAYS[1], "publish"] == "goes live"
    later = DAYS[1] + timedelta(days=1)
    assert {step.why for step in plan(released, later, later) if step.stage == "logs"} == {
        "it never ran"
    }


def test_a_study_trains_beside_the_releases(
    released: Context, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = released.ledger.entries()
    seeds = [5, released.settings.policy.seed]  # one to be trained, the one that was released
    written = study(released, DAYS[-1], ["il-grpo"], seeds)
    assert all(f"| {name} | " in written for name in (*seeds, "all", "il-grpo"))
    first, second = (need(released, "study-policy-il-grpo-5", day) for day in DAYS)
    assert first.config["seed"] == 5
    assert first.inputs["release direct"] == need(released, "study-sft-5", EVE).digest
    assert second.inputs["release direct"] == first.digest
    capsys.readouterr()
    assert study(released, DAYS[-1], ["il-grpo"], seeds) == written
    # One IL-SFT for the new seed; two evaluations of each arm; two updates of the trained one.
    assert capsys.readouterr().out.count("up to date") == 1 + 2 * 2 + 2
    assert released.ledger.entries() == entries


def test_an_ablation_trains_beside_the_releases(
    released: Context, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the variants those whose steps differ; tests/research/test_ablation.py has the others."""
    chosen = [v for v in VARIANTS if v.name in ("direct", "think") or v.titled or v.free]
    monkeypatch.setattr("aigq_tasks.research.ablation.VARIANTS", chosen)
    entries = released.ledger.entries()
    written = ablation(released, DAY, [5])
    assert all(f"| {variant.name} | " in written for variant in chosen)
    sft = [need(released, f"ablation-sft-{name}-5", EVE) for name in ("direct", "think")]
    assert sft[0].inputs != sft[1].inputs
    assert released.manifests.head("ablation-sft-think-free-decoding-5", EVE) is None
    capsys.readouterr()
    assert ablation(released, DAY, [5]) == written
    titled = released.settings.samples.bootstrap_days
    rules = 1
    assert capsys.readouterr().out.count("up to date") == 2 * len(chosen) + titled + rules
    assert released.ledger.entries() == entries


@pytest.mark.parametrize("stage", ["samples", "think-samples"])
def test_held_out_users_are_not_trained_on(released: Context, stage: str) -> None:
    scores = table(released, need(released, "evaluate", DAYS[1]), "scores")
    trained = table(released, need(released, stage, DAYS[1]), "samples")
    assert len(scores) > 0
    assert len(trained) > 0
    assert set(scores["user_id"]).isdisjoint(trained["user_id"])


def test_missing_inputs_and_days_say_what_to_do(released: Context) -> None:
    later = DAY + timedelta(days=4)
    before = released.store.list("")
    with pytest.raises(AigqError, match=r"logs of .* run 'aigq logs --day"):
        run_stage(CTR, released, later)
    with pytest.raises(OutsideTheLog, match="outside the log's days"):
        run_stage(LOGS, released, date(2026, 1, 1))
    with pytest.raises(AigqError, match=r"policy of .* is missing"):
        run_stage(EVALUATE, released, later)
    assert released.store.list("") == before


def with_teacher(ctx: Context, url: str, model: str) -> Context:
    teacher = ctx.settings.teacher.model_copy(
        update={"url": f"{url}/v1", "model": model, "concurrency": 2, "retries": 0}
    )
    return ctx.changed(lambda settings: settings.model_copy(update={"teacher": teacher}))


def test_a_dead_language_model_costs_nothing_twice(released: Context, tmp_path: Path) -> None:
    stage = THINK_SAMPLES
    with servers.chat_server(tmp_path) as url:
        good = with_teacher(released, url, "good")
        given = given_for(good, DAY, stage.reads)
        undisturbed = stage.compute(given, stage.settings(good.settings), DAY)
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
    pd.testing.assert_frame_equal(samples, from_parquet(to_parquet(undisturbed.tables["samples"])))


def test_arms_answer_the_same_requests_each_from_its_own_log(released: Context) -> None:
    """What a second run finds is what the first one made; of all this nothing is released."""
    before = (released.ledger.entries(), released.store.list("manifests/"))
    names, first, last = ["classic", "il-grpo"], DAYS[0], DAYS[-1]
    classic, updated = ab(released, names, first, last, seed=5)
    asked = ["day", "user_id", "requests"]
    on_first = [own.days[own.days["day"] == str(first)][asked] for own in (classic, updated)]
    pd.testing.assert_frame_equal(*on_first)
    assert not {"u2q", "x2q", "cluster"} & set(classic.sources["source"])
    assert {"u2q", "x2q"} <= set(updated.sources["source"])
    assert len(updated.days["day"].unique()) == len(DAYS)
    branch = branch_of(released, ARMS["il-grpo"], first, 5)
    start, *own = branch.ledger.entries()[-2:]
    assert [start.day, *(entry.day for entry in own)] == [EVE, DAY]  # nothing is made of the last
    assert own[0].models["direct"] == need(branch, "policy", DAY).digest
    assert own[0].models["think"] == start.models["think"]
    assert need(branch, "logs", DAY).digest != need(released, "logs", DAY).digest
    assert (released.ledger.entries(), released.store.list("manifests/")) == before
    stored = released.store.list("branches/")
    people = people_of(released, [classic, updated])
    written = report([classic, updated], people, "replay", seed=1)
    assert report(ab(released, names, first, last, 5), people, "replay", seed=1) == written
    assert released.store.list("branches/") == stored
    assert "| `il-grpo`: + both, AIGQ-Direct updated daily by IL-GRPO |" in written
    assert "## Sources of `classic`" in written


def test_killed_stages_recover(released: Context, tmp_path: Path) -> None:
    """Drawn cells of the crash matrix on the real stages; `make chaos` has them all."""
    children.warm(*world.IMPORTED)
    whole = world.whole(released.settings, DAYS[1], tmp_path)
    cells = [cell for cell in matrix.cells(world.STAGES) if cell.stage != "gc"]
    outcomes = list(matrix.run_cells(whole, matrix.some(cells, count=6, seed=3)))
    assert len(outcomes) == 6


def likes_what_nobody_asks(*args: object) -> Scorer:
    """A broken click model: sure clicks on what no log has ever held, none on the rest."""
    history = next(one for one in args if isinstance(one, pd.DataFrame))
    known = set(history["content"])
    return lambda users, queries: np.array([float(query not in known) for query in queries])


def eagerly(settings: Settings) -> Settings:
    changes = {"steps": 20, "prompts_per_step": 4, "learning_rate": 1e-3}
    grpo = settings.policy.grpo.model_copy(update=changes)
    policy = settings.policy.model_copy(update={"grpo": grpo})
    return settings.model_copy(update={"policy": policy})


def test_a_broken_click_model_is_found_out_within_a_day(
    released: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last test here: it releases one more day."""
    day = DAYS[-1] + timedelta(days=1)
    champion = released.ledger.entries()[-1].models["direct"]
    for stage in ("update", "evaluate"):
        monkeypatch.setattr(f"aigq_tasks.stages.{stage}.click_scorer", likes_what_nobody_asks)
    eager = released.changed(eagerly)
    run_day(eager, day)
    verdict = record(released, need(released, "gate", day), "verdict.json")
    assert not verdict["accepted"]
    assert any("reward hacking: off-catalogue queries" in why for why in verdict["reasons"])
    publish(eager, day, **WHO)
    last = released.ledger.entries()[-1]
    assert (last.day, last.verdict) == (day, "rejected")
    assert last.models["direct"] == champion
