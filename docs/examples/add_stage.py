"""A stage: what was searched most on a day. It is told what it reads, and has nothing else."""

from datetime import date

from aigq_tasks.pipeline.given import Given
from aigq_tasks.pipeline.reads import Logs, today
from aigq_tasks.pipeline.stage import Output, Slice, Stage


class TopSlice(Slice):
    """size: queries to keep."""

    size: int


def compute(given: Given, settings: TopSlice, day: date) -> Output:
    """The most searched queries of the day, ties by text."""
    counts = given.logs("today")["searches"].groupby("query").size().reset_index(name="searches")
    best = counts.sort_values(["searches", "query"], ascending=[False, True]).head(settings.size)
    return Output(tables={"top": best}, metrics={"queries": float(len(counts))})


TOP = Stage(
    name="top",
    needs=("s3", "mlflow"),
    reads=(Logs("today", ("searches",), today),),
    settings=lambda settings: TopSlice(size=settings.samples.labels),
    compute=compute,
)


if __name__ == "__main__":  # tried without a server: what the runner hands over, made by hand
    from pathlib import Path

    import pandas as pd

    from aigq_tasks.pipeline.reads import Resolved
    from aigq_tasks.storage.manifests import Blob, Manifest
    from aigq_tasks.storage.objects import sha256
    from aigq_tasks.storage.tables import to_parquet

    DAY = date(2017, 11, 6)
    searches = to_parquet(pd.DataFrame({"query": ["tea", "milk", "tea", "jam"]}))
    blobs = {sha256(searches): searches}
    outputs = {"searches.parquet": Blob(sha256(searches), len(searches))}
    log = Manifest(stage="logs", day=DAY, outputs=outputs)
    declared = {"logs: today": Resolved(log.digest, (log,), ("searches",))}
    given = Given(declared, blobs.__getitem__, None, Path("scratch"), print)
    made = TOP.compute(given, TopSlice(size=2), DAY)
    assert made.tables["top"].to_dict("list") == {"query": ["tea", "jam"], "searches": [2, 1]}
    assert made.metrics == {"queries": 3.0}
    try:
        given.result("ctr")
    except KeyError:
        print("what is not declared is not there")
