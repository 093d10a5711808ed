"""The docs say what the code says: tables made from it, links and files that are named."""

import ast
import inspect
import re
import textwrap
from dataclasses import replace
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest
import tables

from aigq_tasks.pipeline.stage import Stage
from aigq_tasks.research.ablation import (
    ABLATION_RULES,
    TITLED_SAMPLES,
    ablation_evaluate,
    ablation_sft,
)
from aigq_tasks.research.study import study_evaluate, study_policy, study_sft
from aigq_tasks.research.variants import VARIANTS
from aigq_tasks.settings import Settings
from aigq_tasks.stages.gate import GATE, GateSlice
from aigq_tasks.stages.x2q import RESCORED_X2Q

REPOSITORY = Path(__file__).parents[2]
# Named as they were, or as they might be called.
OF_THE_PAST = {"CHANGELOG.md"}
ROOTS = ("aigq_tasks", "ctr_model", "dags", "tests", "infra", "docs", "benchmarks")


def pages() -> list[Path]:
    return sorted([*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md")])


def named(page: Path) -> str:
    return page.relative_to(REPOSITORY).as_posix()


def test_tables_are_what_the_code_says() -> None:
    made = tables.tables()
    assert {path.name for path in tables.FOLDER.iterdir()} == set(made)
    for name, text in made.items():
        kept = (tables.FOLDER / name).read_text()
        assert kept == text, f"docs/tables/{name} is not what the code says: run `make tables`"


def test_what_a_setting_changes_is_found() -> None:
    """By the table, which the test above holds to the code."""
    text = (tables.FOLDER / "settings.md").read_text()
    changed = dict(re.findall(r"^\| `(\S+)` \| (.*) \|$", text, re.M))
    assert "logs" in changed["recall.candidates.per_source"].split(", ")
    # Found on some days and by some values alone: fewer days of hints than a window has, fewer
    # sessions than AIGQ-Think learns from.
    assert "ctr" in changed["launch_days"].split(", ")
    assert "ctr" in changed["bootstrap_day"].split(", ")
    assert changed["samples.bootstrap_days"] == "*sft*, *think-sft*"
    assert changed["engine"] == "none"  # says how, not what
    assert changed["s3.port"] == "none"


def variants() -> list[Stage[Any]]:
    """Stages of research, and one of a promotion."""
    return [
        *(study_sft(1), study_policy("il-grpo", 1), study_evaluate("il-grpo", 1)),
        *(ablation_sft(VARIANTS[0], 1), ablation_evaluate(VARIANTS[0], 1), TITLED_SAMPLES),
        ABLATION_RULES,
        RESCORED_X2Q,
    ]


def unread(stage: Stage[Any]) -> set[str]:
    """Fields of its slice that no function asks for by which the stage computes."""
    asked = set().union(*map(asked_of_settings, computing(stage.compute)))
    return set(type(stage.settings(Settings())).model_fields) - asked


def computing(compute: Any) -> list[FunctionType]:
    """It and the functions of the package that it names, and those that they name, ..."""
    found = [compute]
    for function in found:  # it grows on the way
        names = {node.id for node in nodes_of(function) if isinstance(node, ast.Name)}
        named = [function.__globals__.get(name) for name in sorted(names)]
        found += [
            one
            for one in named
            if isinstance(one, FunctionType)
            and one.__module__.startswith("aigq_tasks.")
            and one not in found
        ]
    return found


def asked_of_settings(function: FunctionType) -> set[str]:
    """What it takes from its settings: X of `settings.X` or of `trial.settings.X`."""
    attributes = [node for node in nodes_of(function) if isinstance(node, ast.Attribute)]
    return {node.attr for node in attributes if ast.unparse(node.value).endswith("settings")}


def nodes_of(function: FunctionType) -> list[ast.AST]:
    return list(ast.walk(ast.parse(textwrap.dedent(inspect.getsource(function)))))


@pytest.mark.parametrize(
    "stage", [*(one for one, _ in tables.stages()), *variants()], ids=lambda one: one.name
)
def test_a_slice_is_no_wider_than_what_is_computed_with_it(stage: Stage[Any]) -> None:
    assert unread(stage) == set()


def test_a_field_that_nothing_reads_is_found() -> None:
    class Wider(GateSlice):
        spare: int = 0
        threads: int = 1  # which other modules read, of settings of their own

    wider = replace(GATE, settings=lambda own: Wider(**dict(GATE.settings(own))))
    assert unread(wider) == {"spare", "threads"}


@pytest.mark.parametrize("page", pages(), ids=named)
def test_links_lead_to_files(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path = target.partition("#")[0]
        if path and ":" not in path:
            assert (page.parent / path).exists(), f"{named(page)}: {target}"


@pytest.mark.parametrize("page", pages(), ids=named)
def test_files_that_are_named_exist(page: Path) -> None:
    if page.name in OF_THE_PAST:
        return
    for name in re.findall(r"`([\w.*/-]+)`", page.read_text()):
        if name.split("/")[0] in ROOTS and "/" in name:
            assert list(REPOSITORY.glob(name.rstrip("/"))), f"{named(page)}: {name}"


def test_the_paper_is_where_the_index_says() -> None:
    """Paths without a top folder lie in aigq_tasks; a bare name beside the path before it."""
    before = Path()
    for name in re.findall(r"`([\w.*/-]+/[\w.*/-]*|[\w*]+\.py)`", _rows("docs/paper-index.md")):
        if "/" in name:
            before = Path(name) if name.split("/")[0] in ROOTS else Path("aigq_tasks") / name
        else:
            before = before.parent / name
        assert list(REPOSITORY.glob(before.as_posix())), f"docs/paper-index.md: {name}"


def _rows(page: str) -> str:
    lines = (REPOSITORY / page).read_text().splitlines()
    return "\n".join(line for line in lines if line.startswith("|"))
