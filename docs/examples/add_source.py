"""A source of the log: files of events, one a day, a JSON object a line. Nobody knows the truth."""

import hashlib
import json
import tempfile
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import ClassVar

import pandas as pd

from aigq_tasks.logs.schema import empty
from aigq_tasks.sources.base import Needs, Serve, Source
from aigq_tasks.stages.land import checked_log


@dataclass(frozen=True)
class SearchFiles:
    """Searches as {"id", "user", "time", "query"} in <folder>/<day>.jsonl."""

    truth_ahead: ClassVar[int] = 0  # nobody knows the truth of any day
    folder: Path

    @property
    def label(self) -> str:
        return "search-files"

    def days(self) -> tuple[date, date | None]:
        return date.fromisoformat(min(path.stem for path in self.folder.glob("*.jsonl"))), None

    def digest(self, day: date) -> str:
        return hashlib.sha256(self._file(day).read_bytes()).hexdigest()

    def land(self, day: date, serve: Serve | None) -> dict[str, pd.DataFrame]:
        """Searches, and who searched. What was shown happened already: `serve` is not asked."""
        events = [json.loads(line) for line in self._file(day).read_text().splitlines()]
        names = {"id": "event_id", "user": "user_id", "time": "time", "query": "query"}
        searches = pd.DataFrame(events, columns=list(names)).rename(columns=names)
        searches["time"] = pd.to_datetime(searches["time"], format="ISO8601")
        users = searches[["user_id"]].drop_duplicates().assign(attributes="")
        return {"searches": searches, "users": users}

    def truth(self, day: date) -> Needs | None:
        return None

    def _file(self, day: date) -> Path:
        return self.folder / f"{day}.jsonl"


DAY, folder = date(2025, 3, 1), Path(tempfile.mkdtemp())
event = {"id": "1", "user": "ann", "time": "2025-03-01T09:00:00", "query": "oat milk"}
bad = [{"id": "2", "query": "<b>tea</b>"}, {"id": "3", "time": "2025-03-02"}]
lines = [json.dumps(event | changed) for changed in ({}, *bad)]
(folder / f"{DAY}.jsonl").write_text("\n".join(lines))
source: Source = SearchFiles(folder)
landed = checked_log(source.land(DAY, None), DAY, empty("hint_impressions"))  # as the stage does
assert landed.tables["searches"]["query"].tolist() == ["oat milk"]
assert landed.records["quarantine.json"] == {"searches": {"future": 1, "markup": 1}}
before = source.digest(DAY)
(folder / f"{DAY}.jsonl").write_text("\n".join([*lines, json.dumps(event | {"id": "4"})]))
assert source.digest(DAY) != before  # so the day is landed again
