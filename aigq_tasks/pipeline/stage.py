"""A stage: a pure function of what it declares to read and of the settings that it may see."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import pandas as pd
from pydantic import BaseModel, ConfigDict

from aigq_tasks.pipeline.given import Given
from aigq_tasks.pipeline.reads import Nothing, Read
from aigq_tasks.storage.manifests import Manifest

if TYPE_CHECKING:
    from aigq_tasks.settings import Settings

CHARTS = "charts/"  # outputs under this name are shown in MLflow


class Slice(BaseModel):
    """Settings that a stage may see. All of them are digested, but for fields with
    `exclude=True`: those say how something is computed and cannot change what comes out."""

    model_config = ConfigDict(frozen=True, extra="forbid")


S = TypeVar("S", bound=BaseModel)


@dataclass(frozen=True)
class Output:
    """What a stage computed. All of it is stored, so all of it must be the same for the same
    inputs.

    tables: name -> rows, kept as <name>.parquet. records: file name -> JSON value. files: name ->
    bytes. metrics: finite numbers, or words for facts about the run. tags: facts to find the run
    by. charts: file name -> PNG bytes.
    """

    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    records: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    metrics: Mapping[str, float | str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    charts: Mapping[str, bytes] = field(default_factory=dict)


def _always(_: Manifest) -> bool:
    return True


@dataclass(frozen=True)
class Stage(Generic[S]):
    """One stage. A variant of it is data: `dataclasses.replace(stage, name=..., reads=...)`.

    needs: services that must answer: "s3", "mlflow", "valkey". reads: all that `compute` is given
    beside the settings' slice and the day. final: whether a result with equal inputs stands; one
    that is not final is computed again. timed: it measures time, so equal inputs may give other
    bytes; every other stage gives the same.
    """

    name: str
    needs: tuple[str, ...]
    reads: tuple[Read, ...]
    settings: "Callable[[Settings], S]"
    compute: Callable[[Given, S, date], Output]
    final: Callable[[Manifest], bool] = _always
    timed: bool = False

    def reading(self, *reads: Read) -> "Stage[S]":
        """The same with these reads, each in place of the one that has its key, or beside them."""
        keys = {read.key for read in reads}
        return replace(self, reads=(*(own for own in self.reads if own.key not in keys), *reads))

    def without(self, *keys: str) -> "Stage[S]":
        """The same with nothing to read under these keys."""
        return self.reading(*map(Nothing, keys))
