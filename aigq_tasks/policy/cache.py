"""Key-value caches for generation: one prefill per distinct prompt, and room to grow."""

from typing import Any

import torch  # noqa: TID253  every function here holds tensors
from transformers import DynamicCache  # noqa: TID253
from transformers.cache_utils import DynamicLayer  # noqa: TID253

from aigq_tasks.policy.buffers import PREFILL_ROWS, ROOM, grown


def shared_prefill(model: Any, ids: torch.Tensor, mask: torch.Tensor) -> DynamicCache:
    """Key-value cache of the left-padded prompts ids (B, P) with attention mask (B, P), both
    int64. Equal rows go through the model once: the rollouts of one prompt share their prefill.
    Differentiable where gradients are on."""
    if ids.size(1) == 0:
        return DynamicCache(config=model.config)
    distinct, row_of = torch.unique(torch.stack([ids, mask], dim=2), dim=0, return_inverse=True)
    parts = [_prefill(model, *part.unbind(dim=2)) for part in distinct.split(PREFILL_ROWS)]
    cache = parts[0]
    for layers in zip(*(part.layers for part in parts), strict=True):
        layers[0].keys = torch.cat([layer.keys for layer in layers])
        layers[0].values = torch.cat([layer.values for layer in layers])
    cache.batch_select_indices(row_of)
    return cache


def _prefill(model: Any, ids: torch.Tensor, mask: torch.Tensor) -> DynamicCache:
    cache = DynamicCache(config=model.config)
    model(
        input_ids=ids,
        attention_mask=mask,
        position_ids=(mask.cumsum(dim=1) - 1).clamp(min=0),
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    return cache


def with_room(cache: DynamicCache) -> DynamicCache:
    """The same cache, made to be extended token by token (without gradients). Layers of a kind
    that keeps less than everything (sliding windows) stay as they are."""
    cache.layers = [
        RoomyLayer(layer) if type(layer) is DynamicLayer else layer for layer in cache.layers
    ]
    return cache


class RoomyLayer(DynamicLayer):
    """A DynamicLayer that writes new tokens into spare room of its buffers.

    DynamicLayer copies everything at every token, which was half of the time of a decoding step
    here. keys and values, (B, heads, T, size), are views of the used part of the buffers.
    """

    def __init__(self, layer: DynamicLayer) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._buffers: tuple[torch.Tensor, torch.Tensor] | None = None
        if layer.keys is not None and layer.values is not None:
            self.lazy_initialization(layer.keys, layer.values)
            self.keys, self.values = layer.keys, layer.values

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append key_states and value_states, (B, heads, new, size); return all of both."""
        used = self.get_seq_length()
        if used == 0:
            return super().update(key_states, value_states, *args, **kwargs)
        total = used + key_states.size(2)
        if self._buffers is None or self._buffers[0].size(2) < total:
            self._buffers = (grown(self.keys, total + ROOM), grown(self.values, total + ROOM))
        keys, values = self._buffers
        keys[:, :, used:total], values[:, :, used:total] = key_states, value_states
        self.keys, self.values = keys[:, :, :total], values[:, :, :total]
        return self.keys, self.values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep the rows `indices`, (n,), of the batch."""
        super().batch_select_indices(indices)
        self._buffers = None
