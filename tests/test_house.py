"""The rooms of the house: what import-linter's contracts (pyproject.toml) cannot say."""

import ast
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from aigq_tasks.stages.day import DAY

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = REPOSITORY / "aigq_tasks"
MODULES = sorted([*PACKAGE.rglob("*.py"), *(REPOSITORY / "ctr_model").rglob("*.py")])
LONGEST = 400  # lines of a module
KNOW_THE_MARKET = ("sources/market/", "cli/", "settings.py")
NOT_FOR_STAGES = {
    *(f"aigq_tasks.{room}" for room in ("settings", "storage", "tracking", "releases", "services")),
    *(f"aigq_tasks.pipeline.{edge}" for edge in ("context", "reading", "runner")),
    "aigq_tasks.serving.indexes",
    *("os", "subprocess", "socket", "requests", "boto3", "botocore", "valkey", "mlflow"),
}


def name_of(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


def imported(module: ast.Module) -> Iterator[str]:
    """What a module imports when it runs, wherever in it; names of types alone are left out."""
    waiting: list[ast.AST] = [module]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            waiting += node.orelse
            continue
        waiting += ast.iter_child_nodes(node)


def computing() -> list[Path]:
    """Modules with a `compute` of a stage, whatever they call it, and those of `serving` that it
    is helped by: all but Valkey's."""
    listed = {PACKAGE / "stages" / f"{step.where.partition(':')[0]}.py" for step in DAY}
    defining = {path for path in MODULES if re.search(r"^def compute", path.read_text(), re.M)}
    helping = {PACKAGE / "serving" / f"{name}.py" for name in ("histories", "lists", "stack")}
    return sorted(listed | defining | helping)


def arrows() -> list[tuple[str, list[Path]]]:
    """Rows of the table "Which file is which arrow": the arrow, and what is said to be it. A bare
    file name lies beside what the row names before it."""
    text = (REPOSITORY / "docs" / "architecture.md").read_text()
    table = text.split("## Which file is which arrow")[1].split("\n## ")[0]
    rows = []
    for line in table.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("| ") or cells[0] in ("arrow", "---"):
            continue
        paths: list[Path] = []
        for named in re.findall(r"`([^`]+)`", cells[1]):
            beside = REPOSITORY if "/" in named or not paths else _folder(paths[-1])
            paths.append(beside / named)
        rows.append((cells[0], paths))
    return rows


def _folder(path: Path) -> Path:
    return path if path.is_dir() else path.parent


def test_only_three_modules_lie_loose() -> None:
    loose = {path.name for path in PACKAGE.glob("*.py")}
    assert loose == {"__init__.py", "settings.py", "errors.py", "messages.py"}


def test_every_package_says_what_lives_there() -> None:
    packages = [path for path in MODULES if path.name == "__init__.py"]
    folders = {path.parent for path in MODULES}
    assert {path.parent for path in packages} == folders  # none by accident
    for path in packages:
        said = ast.get_docstring(ast.parse(path.read_text()))
        assert said, name_of(path)
        assert len(said.split()) >= 12, name_of(path)


def test_no_module_is_long() -> None:
    assert {name_of(path) for path in MODULES if _lines(path) > LONGEST} == set()


def _lines(path: Path) -> int:
    return len(path.read_text().splitlines())


def test_nobody_else_knows_the_market() -> None:
    """Its name stands in comments at most."""
    named = []
    for path in PACKAGE.rglob("*.py"):
        if path.relative_to(PACKAGE).as_posix().startswith(KNOW_THE_MARKET):
            continue
        with path.open("rb") as file:
            named += [
                f"{name_of(path)}:{token.start[0]}"
                for token in tokenize.tokenize(file.readline)
                if token.type != tokenize.COMMENT and "market" in token.string.lower()
            ]
    assert named == []


def test_what_computes_is_given_all_that_it_reads() -> None:
    """Neither settings nor a store, a server or the environment: see `aigq_tasks.pipeline`."""
    found = computing()
    assert {PACKAGE / "research" / f"{name}.py" for name in ("judging", "variants")} < set(found)
    assert len(found) >= len({step.where.partition(":")[0] for step in DAY})
    for path in found:
        names = set(imported(ast.parse(path.read_text())))
        taken = {
            name for name in names if any(f"{name}.".startswith(f"{no}.") for no in NOT_FOR_STAGES)
        }
        assert taken == set(), name_of(path)


def test_names_of_types_are_no_imports() -> None:
    source = "import os.path\nif TYPE_CHECKING:\n    import json\nelse:\n    from a import b\n"
    assert set(imported(ast.parse(source))) == {"os.path", "a.b"}


@pytest.mark.parametrize(("arrow", "paths"), [pytest.param(*row, id=row[0]) for row in arrows()])
def test_a_newcomer_finds_every_arrow(arrow: str, paths: list[Path]) -> None:
    assert paths, arrow
    for path in paths:
        assert path.exists(), f"{arrow}: {name_of(path)}"
        for module in path.rglob("*.py") if path.is_dir() else [path]:
            assert _lines(module) < LONGEST, f"{arrow}: {name_of(module)}"
