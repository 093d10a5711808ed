"""A stage: what was searched most on a day. It is told what it reads, and has nothing else."""

from datetime import date
from pathlib import Path
from typing import Any, cast

import pandas as pd

from aigq_tasks.pipeline.given import Given
from aigq_tasks.pipeline.reads import Logs, Resolved, today
from aigq_tasks.pipeline.stage import Output, Slice, Stage
from aigq_tasks.storage.manifests import Blob, Manifest
from aigq_tasks.storage.objects import sha256
from aigq_tasks.storage.tables import to_parquet


class TopSettings(Slice):
    """size: queries to keep."""

    size: int


def compute(given: Given, settings: TopSettings, day: date) -> Output:
    """The most searched queries of the day, ties by text."""
    counts = given.logs("today")["searches"].groupby("query").size().reset_index(name="searches")
    best = counts.sort_values(["searches", "query"], ascending=[False, True]).head(settings.size)
    return Output(tables={"top": best}, metrics={"queries": float(len(counts))})


TOP = Stage(
    name="top",
    needs=("s3", "mlflow"),
    reads=(Logs("today", ("searches",), today),),
    settings=lambda settings: TopSettings(size=settings.samples.labels),
    compute=compute,
)


class Memory:
    """As much of a store as reading takes."""

    def __init__(self, *blobs: bytes) -> None:
        self.blobs = {sha256(data): data for data in blobs}

    def get_blob(self, digest: str) -> bytes:
        return self.blobs[digest]


# Tried without a server: what the runner would resolve the reads to, by hand.
DAY = date(2017, 11, 6)
searches = to_parquet(pd.DataFrame({"query": ["tea", "milk", "tea", "jam"]}))
outputs = {"searches.parquet": Blob(sha256(searches), len(searches))}
log, store = Manifest(stage="logs", day=DAY, outputs=outputs), cast("Any", Memory(searches))
resolved = {TOP.reads[0].key: Resolved(log.digest, (log,), ("searches",))}
given = Given(resolved, store, None, Path("scratch"), print)
made = TOP.compute(given, TopSettings(size=2), DAY)
assert made.tables["top"].to_dict("list") == {"query": ["tea", "jam"], "searches": [2, 1]}
assert made.metrics == {"queries": 3.0}
assert not given.has("ctr")  # what is not declared is not there
