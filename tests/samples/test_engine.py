"""The engines as the stages get them."""

import builtins
import os
import shutil
import subprocess
import sys
from typing import Any

import ibis
import pandas as pd
import pytest

from aigq_tasks.errors import AigqError
from aigq_tasks.samples.engine import LOCAL, engine

FRAME = pd.DataFrame(
    {
        "user_id": ["b", "a", "a"],
        "time": pd.to_datetime(["2017-11-06T10:00", "2017-11-06T09:00", "2017-11-06T08:00"]),
    }
).astype({"time": "datetime64[us]"})


def first_times() -> Any:
    table = ibis.memtable(FRAME)
    return table.group_by("user_id").aggregate(time=table.time.min()).order_by("user_id")


def test_duckdb() -> None:
    with engine("duckdb") as execute:
        found = execute(first_times())
    assert found["user_id"].tolist() == ["a", "b"]
    assert found["time"].astype(str).tolist() == ["2017-11-06 08:00:00", "2017-11-06 10:00:00"]
    assert found["time"].dtype == "datetime64[us]"


@pytest.mark.integration
def test_spark_gives_the_same_and_listens_to_nobody() -> None:
    """In a process of its own: a Java machine keeps the settings of its first Spark."""
    pytest.importorskip("pyspark", reason="the extra `spark` is not installed")
    if not (os.environ.get("JAVA_HOME") or shutil.which("java")):
        pytest.skip("no Java runtime")
    script = "import tests.samples.test_engine as t; t.on_spark()"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


def on_spark() -> None:
    """Run by the test above."""
    import pyspark

    with engine("duckdb") as execute:
        ours = execute(first_times())
    with engine("spark") as execute:
        theirs = execute(first_times())
        conf = pyspark.SparkContext._active_spark_context.getConf()
        assert {key: conf.get(key) for key in LOCAL} == LOCAL
    pd.testing.assert_frame_equal(ours, theirs)
    assert pyspark.SparkContext._active_spark_context is None  # nothing stays behind


def test_without_spark_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def absent(name: str, *arguments: Any) -> Any:
        if name.startswith("pyspark"):
            raise ImportError(name)
        return real(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(AigqError, match=r"aigq\[spark\]"), engine("spark"):
        pass
