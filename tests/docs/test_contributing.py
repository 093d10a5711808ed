"""The worked examples of CONTRIBUTING.md run, and are quoted as they are."""

import re
import runpy
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import tables
from recall.source_cases import RecallSourceCases

from aigq_tasks.pipeline.runner import ask
from aigq_tasks.recall.asked import RecallSource
from aigq_tasks.settings import Settings
from aigq_tasks.sources.base import Source
from aigq_tasks.stages.evaluate import EVALUATE, RIVALS
from aigq_tasks.stages.update import POLICY

DAY = date(2017, 11, 8)  # of the daily loop
REPOSITORY = Path(__file__).parents[2]
EXAMPLES = sorted((REPOSITORY / "docs" / "examples").glob("add_*.py"))
GUIDE = (REPOSITORY / "CONTRIBUTING.md").read_text()
LONGEST = 65  # lines of an example


def run(name: str) -> dict[str, Any]:
    path = REPOSITORY / "docs" / "examples" / f"{name}.py"
    return runpy.run_path(str(path), run_name="__main__")


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs(example: Path) -> None:
    assert len(example.read_text().splitlines()) <= LONGEST
    assert re.search(r"^ *assert ", example.read_text(), re.M)  # it shows something
    run(example.stem)


def test_there_is_one_for_each_thing_to_add() -> None:
    things = ["recall_source", "reward_term", "source", "stage"]
    assert [path.stem for path in EXAMPLES] == [f"add_{thing}" for thing in things]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_what_is_quoted_is_in_the_file(example: Path) -> None:
    """The blocks of the section that links it, each of them lines of the file as they stand."""
    (section,) = [part for part in GUIDE.split("\n## ") if f"docs/examples/{example.name}" in part]
    blocks = re.findall(r"```python\n(.*?)```", section, re.S)
    assert blocks
    for block in blocks:
        assert f"\n{block}" in example.read_text()


def test_a_log_of_files_is_read_without_a_truth_that_nobody_knows(tmp_path: Path) -> None:
    """Updates and evaluations resolve before the file of tomorrow is there, and to the same when
    it has come."""

    def inputs() -> list[dict[str, str]]:
        now = replace(tables.moment(Settings(), DAY), source=source)
        return [ask(stage, now).manifest.inputs for stage in (POLICY, RIVALS, EVALUATE)]

    source: Source = run("add_source")["SearchFiles"](tmp_path)
    for day in (DAY - timedelta(days=1), DAY):
        (tmp_path / f"{day}.jsonl").write_text("{}")
    before = inputs()
    assert all("truth" not in read for read in before)
    (tmp_path / f"{DAY + timedelta(days=1)}.jsonl").write_text("{}")
    assert inputs() == before


class TestRising(RecallSourceCases):
    """The example keeps what every recall source promises."""

    @staticmethod
    def build(history: pd.DataFrame, as_of: pd.Timestamp) -> RecallSource:
        built: RecallSource = run("add_recall_source")["build"](history, as_of)
        return built
