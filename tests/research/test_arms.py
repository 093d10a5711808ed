"""The arms of an A/B test as data."""

import pandas as pd
import pytest

from aigq_tasks.errors import AigqError
from aigq_tasks.research.ab import Outcome, report
from aigq_tasks.research.arms import ARMS, find_arm, stages_of
from aigq_tasks.settings import Settings

SETTINGS = Settings()


def test_what_each_arm_makes_anew() -> None:
    made = {name: [stage.name for stage in stages_of(arm)] for name, arm in ARMS.items()}
    classic = ["item-texts", "recall", "ctr"]
    assert made == {
        "classic": classic,
        "classic-again": classic,
        "cluster": classic,
        "u2q": [*classic, "u2q"],
        "x2q": [*classic, "x2q"],
        "all": [*classic, "u2q", "x2q"],
        "il-grpo": [*classic, "samples", "policy", "u2q", "x2q"],
        "grpo": [*classic, "samples", "policy", "u2q", "x2q"],
    }
    assert {need for arm in ARMS.values() for stage in stages_of(arm) for need in stage.needs} == {
        "s3"
    }


def test_an_update_is_by_the_arms_algorithm_and_on_all_users() -> None:
    stages = {stage.name: stage for stage in stages_of(ARMS["grpo"])}
    assert stages["policy"].settings(SETTINGS).grpo.algorithm == "grpo"
    assert stages["samples"].settings(SETTINGS).holdout == 0.0
    lists = {read.key: read for read in stages["u2q"].reads}
    assert lists["release direct"].stage == "policy"  # type: ignore[attr-defined]


def test_an_unknown_arm_names_those_there_are() -> None:
    with pytest.raises(AigqError, match="no arm 'both': one of classic, classic-again, cluster"):
        find_arm("both")


def outcome(name: str, clicks: list[float]) -> Outcome:
    """Users a, b, ... with one request each on one day."""
    days = pd.DataFrame({"day": "2017-11-06", "user_id": list("abcd"), "clicks": clicks})
    days = days.assign(requests=1.0, exposed=1.0, clicking=(days["clicks"] > 0).astype(float))
    source = {"source": ["u2q"], "pvr": [1.0], "ctr": [0.5]}
    own = pd.DataFrame({**source, "unique_queries": [3], "unique_categories": [1]})
    return Outcome(ARMS[name], days, own)


def test_the_report_sets_each_arm_against_the_first() -> None:
    people = {user: user for user in "abcd"}
    arms = [outcome("classic", [1, 0, 0, 0]), outcome("all", [1, 1, 0, 0])]
    written = report(arms, people, "replay", seed=1)
    assert written.startswith("# A/B test, 2017-11-06 to 2017-11-06\n\nreplay: every arm")
    (control,) = [line for line in written.splitlines() if line.startswith("| `classic`")]
    assert control.split(" | ")[1:] == ["4", "4", "0.2500", "0.2500 |"]
    (row,) = [line for line in written.splitlines() if line.startswith("| `all`")]
    assert row.split(" | ")[3:5][1].startswith("+100.00% [")
    assert "| u2q | 1.000 | 0.5000 | 3 | 1 |" in written
