"""What a command loads: whoever asks for a table waits for no library that trains or reads one.

Nothing here measures time: benchmarks/bench_command.py does.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import servers
import small_ledger

from aigq_tasks.pipeline.context import Context

HEAVY = {
    *("torch", "transformers", "trl", "datasets", "lightgbm", "sklearn", "scipy", "mlflow"),
    *("duckdb", "ibis", "airflow", "numpy", "pandas", "pandera", "pyarrow", "matplotlib"),
}
CODE = """
import sys
from aigq_tasks.cli import main
try:
    main()
except SystemExit as done:
    print(done.code, *{name.split(".")[0] for name in sys.modules}, file=sys.stderr)
"""


def loaded(folder: Path, *arguments: str, **environment: str) -> tuple[str, set[str]]:
    """What the command prints in a fresh process, and the packages that it loads."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("AIGQ_")}
    done = subprocess.run(
        [sys.executable, "-c", CODE, *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        env=kept | environment,
        timeout=120,
        check=True,
    )
    code, *packages = done.stderr.splitlines()[-1].split()
    assert code == "0", done.stderr
    return done.stdout, set(packages)


@pytest.fixture
def environment(s3_server: servers.S3Server, bucket: str) -> dict[str, str]:
    """Names a bucket with two releases."""
    settings = small_ledger.settings_of(s3_server, bucket)
    ctx = Context.open(settings)
    for number in (1, 2):
        small_ledger.release(ctx, number)
    return small_ledger.variables(settings)


def test_help_loads_no_store_either(tmp_path: Path) -> None:
    told, packages = loaded(tmp_path, "--help")
    assert "think-policy" in told
    assert packages & {*HEAVY, "boto3", "botocore", "requests", "pydantic_settings"} == set()


@pytest.mark.integration
@pytest.mark.parametrize(
    ("command", "says"),
    [
        (["releases"], "2017-11-07"),
        (["report"], "0.2000"),
        (["release", "show", "2"], "what the day ran"),
        (["diff", "1", "2"], "0.2"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_table_of_the_ledger_loads_no_library_of_tables(
    command: list[str], says: str, environment: dict[str, str], tmp_path: Path
) -> None:
    told, packages = loaded(tmp_path, *command, **environment)
    assert says in told
    assert packages & HEAVY == set()
    assert list(tmp_path.iterdir()) == []


def test_status_loads_none_of_what_the_services_run(tmp_path: Path) -> None:
    told, packages = loaded(tmp_path, "status")
    assert "airflow-scheduler" in told
    assert packages & HEAVY == set()
