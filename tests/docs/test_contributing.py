"""The worked examples of CONTRIBUTING.md run, and are quoted as they are."""

import re
import runpy
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from recall.source_cases import RecallSourceCases

from aigq_tasks.recall.stack import RecallSource

REPOSITORY = Path(__file__).parents[2]
EXAMPLES = sorted((REPOSITORY / "docs" / "examples").glob("add_*.py"))
GUIDE = (REPOSITORY / "CONTRIBUTING.md").read_text()
LONGEST = 60  # lines of an example


def run(name: str) -> dict[str, Any]:
    return runpy.run_path(str(REPOSITORY / "docs" / "examples" / f"{name}.py"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs(example: Path) -> None:
    assert len(example.read_text().splitlines()) <= LONGEST
    assert "\nassert " in example.read_text()  # it shows something
    runpy.run_path(str(example))


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


class TestRising(RecallSourceCases):
    """The example keeps what every recall source promises."""

    @staticmethod
    def build(history: pd.DataFrame, as_of: pd.Timestamp) -> RecallSource:
        built: RecallSource = run("add_recall_source")["build"](history, as_of)
        return built
