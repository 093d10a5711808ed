from datetime import date, timedelta
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from aigq_tasks.pipeline.stage import Stage
from aigq_tasks.policy.config import GrpoConfig
from aigq_tasks.research.levels import METRICS
from aigq_tasks.research.study import (
    VARIANTS,
    report,
    study_evaluate,
    study_policy,
    study_sft,
    study_steps,
    trend,
)
from aigq_tasks.settings import Settings
from aigq_tasks.stages.first_policies import SFT
from aigq_tasks.stages.update import POLICY

SETTINGS = Settings()
EVE = SETTINGS.bootstrap_day
DAY = EVE + timedelta(days=1)


def _scores(seed: int, day: str, before: list[float], after: list[float]) -> pd.DataFrame:
    """Users u0, u1, ... with the same value in every metric."""
    users = [f"u{i}" for i in range(len(before))]
    arms = [("il-sft", before), ("il-grpo", after)]
    return pd.concat(
        pd.DataFrame({"arm": arm, "user_id": users, "seed": seed, "day": day})
        .assign(**dict.fromkeys(METRICS, 0.0))
        .assign(needs_10=values)
        for arm, values in arms
    )


def _by_rule(arm: str, value: float) -> pd.DataFrame:
    """Of two users on one day."""
    rows = pd.DataFrame({"arm": arm, "user_id": ["u0", "u1"], "day": "2017-11-06"})
    return rows.assign(**dict.fromkeys(METRICS, value))


RULES = pd.concat([_by_rule("interleaved", 0.3), _by_rule("stack without AIGQ", 0.4)])
VARIETY = pd.DataFrame(
    [("il-sft", 10), ("il-sft", 21), ("interleaved", 30)], columns=["arm", "distinct_queries"]
)


def test_what_needs_no_language_model_stands_in_the_table() -> None:
    scores = _scores(1, "2017-11-06", [0.1, 0.3], [0.2, 0.4])
    scores.loc[scores["user_id"] == "u0", "query_hr_30"] = np.nan  # u0 searched nothing
    table = report(scores, RULES, VARIETY, "a shop", seed=0).split("no language model, all")[1]
    lines = [line.split(" | ") for line in table.splitlines() if line.startswith("| ")]
    heads = [cell.strip("| ") for cell in lines[0]]
    rows = {cells[0].strip("| "): [cell.strip("| ") for cell in cells] for cells in lines[2:]}
    assert list(rows) == [
        *("il-sft", "il-grpo"),
        *("interleaved", "stack without AIGQ", "own_history", "popularity"),
    ]
    assert heads[:3] == ["arm", "user-days", "needs_10"]
    assert rows["il-sft"][1:3] == ["2", "0.200 [0.100, 0.300]"]
    assert rows["il-sft"][heads.index("query_hr_30")] == "0.000 [0.000, 0.000]"
    assert rows["interleaved"][heads.index("query_hr_30")] == "0.300 [0.300, 0.300]"
    assert "exposed_hr_30 (exposure-biased)" in heads
    # In the mean over days and seeds; nothing is known of an arm that no day has.
    assert [rows[arm][-1] for arm in ("il-sft", "interleaved", "il-grpo")] == ["16", "30", "-"]
    assert rows["own_history"][1:3] == ["0", "-"]


def test_all_runs_of_a_day_come_before_the_next_and_what_was_released_is_not_trained() -> None:
    own = SETTINGS.policy.seed
    days = [DAY, DAY + timedelta(days=1)]
    runs = [("il-sft", own), ("il-grpo", own), ("grpo", own), ("il-sft", 18), ("grpo", 18)]
    steps = [(stage.name, day) for stage, day in study_steps(SETTINGS, days, runs)]
    of_a_day = [
        f"study-policy-grpo-{own}",
        f"study-evaluate-grpo-{own}",
        "study-evaluate-il-sft-18",
        "study-policy-grpo-18",
        "study-evaluate-grpo-18",
    ]
    first = [(f"study-sft-{seed}", EVE) for seed in (own, 18)]
    assert steps == first + [(name, day) for day in days for name in of_a_day]


def test_changes_are_paired_by_seed_day_and_user() -> None:
    scores = pd.concat(
        [
            _scores(1, "2017-11-06", [0.1, 0.3], [0.2, 0.4]),  # +0.1 for both users
            _scores(1, "2017-11-07", [0.2, 0.2], [0.2, 0.2]),
            _scores(2, "2017-11-06", [0.4, 0.4], [0.7, 0.7]),  # +0.3
            _scores(2, "2017-11-07", [0.5, 0.5], [0.5, 0.5]),
        ]
    ).sample(frac=1, random_state=0)  # the order of the rows says nothing
    written = report(scores, RULES, VARIETY, "a shop", seed=0)
    assert written.count("\n## ") == 3
    lines = [line for line in written.splitlines() if line.startswith("| ")]
    cells = {line.split(" | ")[0].removeprefix("| "): line.split(" | ")[1:3] for line in lines}
    # Both users changed alike, so every resample has the same mean: an interval of no width.
    assert cells["1"] == ["4", "0.200 +0.0500 [+0.0500, +0.0500]"]
    assert cells["2"] == ["4", "0.450 +0.1500 [+0.1500, +0.1500]"]
    assert cells["all"] == ["8", "0.325 +0.1000 [+0.1000, +0.1000]"]
    assert cells["2017-11-06"] == ["4", "0.300 +0.2000 [+0.2000, +0.2000]"]
    assert cells["2017-11-07"] == ["4", "0.350 +0.0000 [+0.0000, +0.0000]"]


def test_every_variant_is_compared_with_sft_and_the_first_with_all() -> None:
    base = _scores(1, "2017-11-06", [0.1, 0.3], [0.4, 0.6])  # +0.3
    other = base[base["arm"] == "il-grpo"].assign(arm="grpo", needs_10=[0.2, 0.4])  # +0.1
    parts = report(pd.concat([base, other]), RULES, VARIETY, "a shop", seed=0).split("## ")[1:]
    found = {
        part.splitlines()[0]: line.split(" | ")[2]
        for part in parts
        for line in part.splitlines()
        if line.startswith("| all ")
    }
    assert found == {
        "il-grpo against il-sft": "0.200 +0.3000 [+0.3000, +0.3000]",
        "grpo against il-sft": "0.200 +0.1000 [+0.1000, +0.1000]",
        "il-grpo against grpo": "0.300 +0.2000 [+0.2000, +0.2000]",
    }


def test_the_trend_is_the_slope_over_the_days() -> None:
    # Changes of 0.1, 0.2 and 0.6 on three days, of both users: t − t̄ = -1, 0, 1 and Var(t) = 2/3,
    # so the slope is (-0.1 + 0 + 0.6) / 3 / (2/3) = 0.25; both users alike: no width.
    scores = pd.concat(
        [
            _scores(1, "2017-10-31", [0.1, 0.1], [0.2, 0.2]),
            _scores(1, "2017-11-01", [0.1, 0.1], [0.3, 0.3]),
            _scores(1, "2017-11-02", [0.1, 0.1], [0.7, 0.7]),
        ]
    )
    assert trend(scores, "il-grpo", "il-sft", seed=0) == "+0.2500 [+0.2500, +0.2500]"
    assert (
        trend(scores[scores["day"] == "2017-10-31"], "il-grpo", "il-sft", seed=0)
        == "+0.0000 [+0.0000, +0.0000]"
    )


def test_a_truth_that_nobody_knows_is_left_out() -> None:
    scores = _scores(1, "2017-11-06", [0.1, 0.3], [0.2, 0.4]).assign(needs_10=np.nan)
    written = report(scores, RULES, VARIETY, "a shop", seed=0)
    assert "a shop: held-out users" in written
    assert "| all | 2 | - | 0.000 +0.0000 [+0.0000, +0.0000] |" in written
    assert "grows by" not in written


def _read(stage: Stage[Any], key: str, day: date) -> list[tuple[str, date]]:
    """(stage, day) of the results that are read under the key on that day."""
    moment: Any = SimpleNamespace(day=day, settings=SETTINGS)
    reads = [read for read in stage.reads if read.key == key]
    return [result for read in reads for result in read.upstream(moment)]


def test_a_policy_of_the_study_goes_on_from_its_own_of_the_day_before() -> None:
    policy = study_policy("il-grpo, equal bounds", 18)
    assert policy.name == "study-policy-il-grpo-equal-bounds-18"
    assert _read(policy, "release direct", DAY) == [("study-sft-18", EVE)]
    later = DAY + timedelta(days=1)
    assert _read(policy, "release direct", later) == [(policy.name, DAY)]
    others = {read.key for read in POLICY.reads}
    assert {read.key for read in policy.reads} == others
    assert _read(policy, "samples", DAY) == [("samples", DAY)]


def test_an_arm_is_judged_by_its_policy_of_the_day() -> None:
    judge = study_evaluate("grpo", 18)
    assert judge.name == "study-evaluate-grpo-18"
    assert _read(judge, "policy", DAY) == [("study-policy-grpo-18", DAY)]
    sft = study_evaluate("il-sft", 18)
    assert sft.name == "study-evaluate-il-sft-18"
    assert _read(sft, "policy", DAY + timedelta(days=3)) == [("study-sft-18", EVE)]
    own = judge.settings(SETTINGS)
    assert (own.arm, own.limits) == ("grpo", None)
    assert (own.seed, own.holdout) == (SETTINGS.seed, SETTINGS.samples.holdout)


def test_variants_change_nothing_but_seed_and_training() -> None:
    released = SFT.settings(SETTINGS)
    assert study_sft(18).settings(SETTINGS) == released.model_copy(update={"seed": 18})
    update, grpo = POLICY.settings(SETTINGS), SETTINGS.policy.grpo
    for name, changes in VARIANTS.items():
        own = study_policy(name, 18).settings(SETTINGS)
        assert own.grpo == grpo.model_copy(update=changes)
        assert own.model_copy(update={"grpo": grpo}) == update.model_copy(update={"seed": 18})
    assert len({str(study_policy(name, 18).settings(SETTINGS)) for name in VARIANTS}) == 4
    assert GrpoConfig(**VARIANTS["grpo"]).algorithm == "grpo"
