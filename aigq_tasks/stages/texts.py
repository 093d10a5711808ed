"""Stage `texts`: the meaning of every text in the history, as unit vectors, computed once."""

from collections.abc import Sequence
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from aigq_tasks.stages.context import Context
from aigq_tasks.stages.reading import (
    files,
    log_window,
    model,
    read_behaviours,
    window_digest,
)
from aigq_tasks.stages.runner import StageOutput
from aigq_tasks.storage.canonical import to_json
from aigq_tasks.storage.ledger import Entry

Vectors = npt.NDArray[np.float32]


class TextsStage:
    """All texts up to the launch, encoded in one sorted batch: in other batches the last digit
    of a float may differ, so nobody encodes them again."""

    name = "texts"
    needs: tuple[str, ...] = ("s3", "mlflow")

    def inputs(self, ctx: Context, day: date) -> dict[str, str]:
        return {"logs": window_digest(log_window(ctx, day))}

    def config(self, ctx: Context) -> dict[str, Any]:
        from aigq_tasks.evaluation.encoder import ENCODER

        return {"encoder": ENCODER, "threads": ctx.settings.policy.threads}

    def compute(self, ctx: Context, day: date) -> StageOutput:
        from safetensors.numpy import save

        from aigq_tasks.evaluation.encoder import SentenceEncoder
        from aigq_tasks.policy.backbone import make_deterministic

        make_deterministic(ctx.settings.policy.seed, ctx.settings.policy.threads)
        texts = sorted(read_behaviours(ctx, log_window(ctx, day))["content"].unique())
        return StageOutput(
            files={
                "texts.json": to_json(texts),
                "vectors.safetensors": save({"vectors": SentenceEncoder()(texts)}),
            },
            metrics={"texts": float(len(texts))},
        )


class Embedding:
    """Texts -> (n, d) float32 unit rows: those of a `texts` result, and more texts that the
    caller names at once."""

    def __init__(self, ctx: Context, entry: Entry, needed: pd.Series) -> None:
        """needed: every text that will be asked for."""
        import json

        from safetensors.numpy import load

        from aigq_tasks.evaluation.encoder import SentenceEncoder

        stored = files(ctx, model(ctx, entry, "texts"))
        vectors = load(stored["vectors.safetensors"])["vectors"]
        self._rows: dict[str, Vectors] = dict(
            zip(json.loads(stored["texts.json"]), vectors, strict=True)
        )
        new = sorted(set(needed.unique()) - self._rows.keys())
        if new:
            self._rows |= dict(zip(new, SentenceEncoder()(new), strict=True))

    def __call__(self, texts: Sequence[str]) -> Vectors:
        return np.stack([self._rows[text] for text in texts])
