"""Which of the settings that it is handed does a computation look at?"""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from pydantic import BaseModel

from aigq_tasks.pipeline import runner
from aigq_tasks.pipeline.context import Context
from aigq_tasks.pipeline.given import Given
from aigq_tasks.pipeline.stage import Output, Stage
from aigq_tasks.storage.manifests import Manifest

Seen = dict[str, set[str]]  # stage -> dotted names of the settings that its compute has read


@contextmanager
def watched() -> Iterator[Seen]:
    """While this is open, stages that run in this process are handed settings that note who looks
    at them."""
    seen: Seen = defaultdict(set)
    execute = runner._execute

    def noting(stage: Stage[Any], ctx: Context, asked: runner.Asked) -> Manifest:
        def compute(given: Given, settings: BaseModel, day: Any) -> Output:
            return stage.compute(given, noted(settings, seen[stage.name]), day)

        return execute(replace(stage, compute=compute), ctx, asked)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "_execute", noting)
        yield seen


def noted(model: BaseModel, names: set[str], path: str = "") -> Any:
    """The model as one of its own kind that adds the names of the fields that are read."""
    values = {name: getattr(model, name) for name in type(model).model_fields}
    twin = _noting(type(model)).model_construct(**values)
    object.__setattr__(twin, "_watch", (path, names))
    return twin


def dict_of(model: BaseModel) -> dict[str, Any]:
    """All its fields, those too that are left out of digests."""
    values = {name: getattr(model, name) for name in type(model).model_fields}
    return {k: dict_of(v) if isinstance(v, BaseModel) else v for k, v in values.items()}


@cache
def _noting(kind: type[BaseModel]) -> type[BaseModel]:
    def getter(self: Any, name: str) -> Any:
        value = kind.__getattribute__(self, name)
        if name not in kind.model_fields:
            return value
        path, names = object.__getattribute__(self, "_watch")
        if isinstance(value, BaseModel):
            return noted(value, names, f"{path}{name}.")
        names.add(f"{path}{name}")
        return value

    # A slot: a name that starts with an underscore would be a private attribute of the model.
    return type(kind.__name__, (kind,), {"__getattribute__": getter, "__slots__": ("_watch",)})
