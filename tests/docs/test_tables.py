"""The docs say what the code says: tables made from it, links and files that are named."""

import ast
import inspect
import re
from pathlib import Path
from typing import Any

import pytest
import tables

from aigq_tasks.pipeline.stage import Stage
from aigq_tasks.settings import Settings

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


def test_candidates_of_a_source_change_the_hints_of_a_day() -> None:
    """By the table, which the test above holds to the code."""
    text = (tables.FOLDER / "settings.md").read_text()
    changed = dict(re.findall(r"^\| `(\S+)` \| (.*) \|$", text, re.M))
    assert "logs" in changed["recall.per_source"].split(", ")
    assert changed["engine"] == "none"  # says how, not what
    assert changed["s3.port"] == "none"


@pytest.mark.parametrize("stage", [one for one, _ in tables.stages()], ids=lambda one: one.name)
def test_a_slice_is_no_wider_than_what_is_computed_with_it(stage: Stage[Any]) -> None:
    """Each of its fields is asked for where the stage computes."""
    fields = set(type(stage.settings(Settings())).model_fields)
    source = Path(inspect.getfile(stage.compute)).read_text()
    nodes = ast.walk(ast.parse(source))
    asked = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    assert fields - asked == set()


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
