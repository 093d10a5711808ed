"""Rollout batches of TRL, as dictionaries of tensors with one row per rollout."""

from typing import Any

import torch  # noqa: TID253  this module is tensor arithmetic and nothing else
from torch.nn.functional import pad  # noqa: TID253

Batch = dict[str, Any]
_LEFT = ("prompt_ids", "prompt_mask")  # padded on the left, all else on the right


def replace_rows(batch: Batch, rows: torch.Tensor, other: Batch, pad_token: int) -> Batch:
    """The batch with the rows `rows`, (n,) int64, taken from `other`, a batch of n rows.

    Tables (B, T) of different width are padded: ids with pad_token, all else with 0. Scalars
    stay those of `batch`; keys that one of the two lacks are an error (KeyError).
    """
    if batch.keys() != other.keys():
        raise KeyError(f"batches differ in {sorted(batch.keys() ^ other.keys())}")
    replaced = dict(batch)
    for name, table in batch.items():
        if isinstance(table, torch.Tensor) and table.ndim > 0:
            fill = pad_token if name.endswith("_ids") else 0
            own, new = _as_wide(name, table, other[name], fill)
            replaced[name] = own.index_copy(0, rows, new.to(own.dtype))
    return replaced


def _as_wide(
    name: str, one: torch.Tensor, two: torch.Tensor, fill: int
) -> tuple[torch.Tensor, torch.Tensor]:
    if one.ndim == 1:
        return one, two
    width = max(one.size(1), two.size(1))

    def widened(table: torch.Tensor) -> torch.Tensor:
        missing = width - table.size(1)
        return pad(table, (missing, 0) if name in _LEFT else (0, missing), value=fill)

    return widened(one), widened(two)
