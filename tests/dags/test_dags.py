"""What holds for every file in `dags/`."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

DAGS = Path(__file__).resolve().parents[2] / "dags"
HEAVY = ["torch", "transformers", "trl", "lightgbm", "mlflow", "duckdb", "pandas", "aigq_tasks"]


def test_airflow_loads_them_all(dag_bag: Any) -> None:
    assert dag_bag.import_errors == {}
    assert set(dag_bag.dags) == {
        "hintq_daily",
        "hintq_bootstrap",
        "hintq_rollback",
        "hintq_promote",
    }
    for dag in dag_bag.dags.values():
        assert dag.tags
        assert dag.doc_md
        assert dag.description


def test_they_import_nothing_heavy() -> None:
    """In a fresh process, as the Dag processor parses them every half minute."""
    modules = sorted(path.stem for path in DAGS.glob("*.py"))
    script = f"""
import json, sys
sys.path.insert(0, {str(DAGS)!r})
for name in {modules!r}:
    __import__(name)
print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert {"_stage", "hintq_daily", "hintq_bootstrap"} <= set(modules)
    assert json.loads(done.stdout.splitlines()[-1]) == []


def test_they_can_be_imported_as_a_package() -> None:
    script = f"""
import sys
import dags.hintq_daily, dags.hintq_bootstrap
print([name for name in {HEAVY!r} if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=True, cwd=DAGS.parent
    )
    assert done.stdout.splitlines()[-1] == b"[]"


def test_every_task_is_a_command_of_aigq(dag_bag: Any) -> None:
    from typer.core import TyperGroup
    from typer.main import get_command

    from aigq_tasks.cli import app

    root = get_command(app)
    for dag in dag_bag.dags.values():
        for task in dag.tasks:
            options = r"(?: (--\w+) \{\{.*\}\})?"
            words = re.fullmatch(rf"exec aigq ([a-z0-9 -]+?){options}", task.bash_command)
            assert words, task.bash_command
            command = root
            for word in words[1].split():
                assert isinstance(command, TyperGroup)
                assert word in command.commands, f"aigq {words[1]}"
                command = command.commands[word]
            known = {option for param in command.params for option in param.opts}
            assert words[2] is None or words[2] in known
