from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from unittest.mock import ANY

import pandas as pd
import pytest
import tables

from aigq_tasks.context.interests import Interest, read_interests, render_interests
from aigq_tasks.context.prompt import Shopper, plain_text
from aigq_tasks.pipeline.reads import Nothing, Release
from aigq_tasks.pipeline.runner import ask
from aigq_tasks.research.ablation import (
    ABLATION_RULES,
    MEASURED,
    TITLED_SAMPLES,
    ablation_evaluate,
    ablation_sft,
    report,
)
from aigq_tasks.research.judging import RULES, _told
from aigq_tasks.research.variants import (
    CHANGES,
    VARIANTS,
    Variant,
    learned_from,
    spelt_out,
    unexplained,
    unordered,
)
from aigq_tasks.settings import Settings

SETTINGS = Settings()
BY_NAME = {variant.name: variant for variant in VARIANTS}

POINTS = [
    Interest("milk due again", (3, 1), ("milk", "oat milk", "butter")),
    Interest("tea often", (2,), ("tea", "honey")),
]
DIRECT = pd.DataFrame(
    {
        "prompt": ["<profile>65+<history><3_day_ago><search><2_time><every_7_day>tea<hints>"] * 20,
        "labels": [["milk", "tea", "beer"]] * 20,
    }
)
THINK = DIRECT.assign(target=render_interests(POINTS))


def test_unordered_keeps_what_there_is() -> None:
    lists = unordered(DIRECT, seed=0)["labels"].tolist()
    assert all(sorted(labels) == ["beer", "milk", "tea"] for labels in lists)
    assert len({tuple(labels) for labels in lists}) == 6  # every order comes up
    assert unordered(DIRECT, seed=0)["labels"].tolist() == lists
    targets = [read_interests(target) for target in unordered(THINK, seed=0)["target"]]
    orders = set()
    for points in targets:
        assert {point.rationale: (point.triggers, set(point.queries)) for point in points} == {
            point.rationale: (point.triggers, set(point.queries)) for point in POINTS
        }
        orders.add(tuple(point.queries for point in points))
    assert len(orders) > 6


def test_without_rationales_the_layout_stays() -> None:
    [target] = set(unexplained(THINK, seed=0)["target"])
    assert target == (
        "<why>lately<why>lately<interest><b_3><b_1><queries>milk<sep>oat milk<sep>butter"
        "<interest><b_2><queries>tea<sep>honey"
    )


def test_spelt_out_prompts() -> None:
    [prompt] = set(spelt_out(DIRECT, seed=0)["prompt"])
    assert prompt == (
        "suggest search queries user 65+ history 1 3 days ago searched 2 times every 7 days tea "
        "queries"
    )


def test_the_report_pairs_a_variant_with_its_base() -> None:
    def scores(arm: str, values: list[float]) -> pd.DataFrame:
        users = [f"u{i}" for i in range(len(values))]
        table = pd.DataFrame({"arm": arm, "user_id": users, "seed": 1, "day": "2017-11-06"})
        return table.assign(**dict.fromkeys(MEASURED, values))

    names = [variant.name for variant in VARIANTS]
    frames = [scores(name, [0.2, 0.6]) for name in names if name != "direct, unordered labels"]
    frames.append(scores("direct, unordered labels", [0.1, 0.5]))  # 0.1 less for both users
    frames += [scores(arm, [0.3, 0.7]) for arm in RULES]
    table = pd.concat(frames).sample(frac=1, random_state=0)
    variety = pd.DataFrame({"arm": ["direct", "interleaved"], "distinct_queries": [20, 40]})
    written = report(table, variety, dict.fromkeys(names, 12.4), 1, "a shop", seed=0)
    lines = written.splitlines()
    assert lines[2].startswith("a shop: all users of the days after the bootstrap, 1 seeds")
    rows = {cells[1]: cells for line in lines if len(cells := line.split("|")) > 2}
    changed = [cell.strip() for cell in rows[" direct, unordered labels "]]
    assert changed[2:5] == ["2", "12", "0.300 [0.100, 0.500]"]
    assert changed[-3] == "-0.100 [-0.100, -0.100] to direct"
    assert rows[" think "][-3].strip() == "+0.000 [+0.000, +0.000] to direct"
    assert [cell.strip() for cell in rows[" direct "][-3:-1]] == ["-", "20"]
    # What needs no language model stands below.
    assert list(rows)[-4:] == [f" {arm} " for arm in RULES]
    by_turns = [cell.strip() for cell in rows[" interleaved "]]
    assert by_turns[2:5] == ["2", "-", "0.500 [0.300, 0.700]"]
    assert by_turns[-3:-1] == ["-", "40"]


def test_a_variant_is_stages_of_its_own() -> None:
    names = [
        (ablation_sft(variant, 18).name, ablation_evaluate(variant, 18).name)
        for variant in VARIANTS
    ]
    assert names[1] == (
        "ablation-sft-direct-unordered-labels-18",
        "ablation-evaluate-direct-unordered-labels-18",
    )
    assert len({judge for _, judge in names}) == len(VARIANTS)
    # Free decoding has no training of its own.
    assert len({sft for sft, _ in names}) == len(VARIANTS) - 1
    free = BY_NAME["think, free decoding"]
    assert ablation_sft(free, 18).name == ablation_sft(BY_NAME["think"], 18).name


def test_everybody_is_judged_by_the_policy_of_the_bootstrap() -> None:
    eve = SETTINGS.bootstrap_day
    moment: Any = SimpleNamespace(day=eve + timedelta(days=3), settings=SETTINGS)
    for variant in VARIANTS:
        judge = ablation_evaluate(variant, 18)
        (policy,) = [read for read in judge.reads if read.key == "policy"]
        assert policy.upstream(moment) == [(ablation_sft(variant, 18).name, eve)]
        own = judge.settings(SETTINGS)
        assert (own.arm, own.holdout) == (variant.name, 1.0)
        assert (own.limits is not None) == variant.think
        assert ablation_sft(variant, 18).settings(SETTINGS).seed == 18


def test_what_a_variant_changes_is_an_input() -> None:
    """Under the same name another change makes another result."""

    def digests(variant: Variant) -> tuple[str, str]:
        named = replace(variant, name="the same")
        learner, judge = ablation_sft(named, 18), ablation_evaluate(named, 18)
        now = tables.moment(SETTINGS, SETTINGS.bootstrap_day + timedelta(days=1))
        return tuple(ask(stage, now).manifest.input_digest for stage in (learner, judge))

    plain = BY_NAME["think"]
    own = digests(plain)
    assert digests(replace(plain, change="unordered"))[0] != own[0]
    assert digests(replace(plain, change="spelt out"))[1] != own[1]
    assert digests(replace(plain, free=True, base="the same")) == (own[0], ANY)
    assert digests(replace(plain, free=True, base="the same"))[1] != own[1]
    assert digests(BY_NAME["direct"])[1] != digests(replace(BY_NAME["direct"], titled=True))[1]


@pytest.mark.parametrize("plain", [False, True])
def test_a_policy_is_told_as_it_was_taught(plain: bool) -> None:
    shopper = Shopper("ann", "65+", ())
    told = _told(Shopper.prompt, plain)(shopper)
    assert told == (plain_text(shopper.prompt()) if plain else shopper.prompt())


def test_titled_items_have_no_texts() -> None:
    titled = BY_NAME["direct, titles for item texts"]
    stages = (TITLED_SAMPLES, ablation_sft(titled, 18), ablation_evaluate(titled, 18))
    for stage in stages:
        assert Release("item-texts") not in stage.reads
    assert Nothing("release item-texts") in TITLED_SAMPLES.reads
    assert TITLED_SAMPLES.settings(SETTINGS).holdout == 0.0
    eve = SETTINGS.bootstrap_day
    moment: Any = SimpleNamespace(day=eve, settings=SETTINGS)
    (read,) = [own for own in ablation_sft(titled, 18).reads if own.key == "samples: sessions"]
    assert set(read.upstream(moment)) == {
        (TITLED_SAMPLES.name, eve - timedelta(days=back))
        for back in range(SETTINGS.samples.bootstrap_days)
    }


def test_a_variant_learns_from_the_latest_samples_changed() -> None:
    days: Any = {"samples: sessions": DIRECT.head(3), "think-samples: sessions": THINK.head(3)}
    given: Any = SimpleNamespace(
        results=lambda key: [SimpleNamespace(table=lambda name: days[key])] * 2
    )
    for name, learned in (("direct", DIRECT), ("think, without rationales", THINK)):
        variant = BY_NAME[name]
        own = ablation_sft(variant, 18).settings(SETTINGS).model_copy(update={"samples": 4})
        rows = learned_from(given, own)
        pd.testing.assert_frame_equal(
            rows.reset_index(drop=True), CHANGES[variant.change](learned.head(4), 18)
        )


def test_rules_are_judged_on_everybody_by_the_release_of_the_day() -> None:
    assert ABLATION_RULES.settings(SETTINGS).holdout == 1.0
    assert {"release recall", "release ctr", "truth"} <= {read.key for read in ABLATION_RULES.reads}
