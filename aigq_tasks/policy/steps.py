"""One decoding step after the other: a prefill of the prompts, then a token for every row.

`steps_of` chooses. Any Hugging Face causal LM is run by its own forward (`CachedSteps`). A Qwen3 on
the CPU is run written out (`QwenSteps`): the same products in the same order, so the same bits, but
without the work around them, which takes as long as the products of a small model.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch  # noqa: TID253  every function here runs a model
from torch.nn.functional import linear, rms_norm, scaled_dot_product_attention, silu  # noqa: TID253

from aigq_tasks.policy.buffers import PREFILL_ROWS, ROOM, Prompts, grown, left_pad
from aigq_tasks.policy.frozen import FrozenQwen, is_plain

QWEN = "transformers.models.qwen3.modeling_qwen3.Qwen3ForCausalLM"


class Steps(Protocol):
    """The state of a batch of rows, each a prompt and what was written after it."""

    def next(self, tokens: torch.Tensor) -> torch.Tensor:
        """(n,) the latest token of each row, at first the last of its prompt -> (n, V) logits of
        the token after it."""
        ...

    def keep(self, rows: torch.Tensor) -> None:
        """Go on with these rows, (m,), only."""
        ...


def steps_of(model: Any, prompts: Prompts, pad: int) -> Steps:
    """Steps after the prompts (token ids, not empty), without gradients."""
    if isinstance(model, FrozenQwen):
        return QwenSteps(model, prompts, pad)
    if is_plain_qwen(model):
        return QwenSteps(FrozenQwen.of(model), prompts, pad)
    return CachedSteps(model, prompts, pad)


class CachedSteps:
    """Steps of any Hugging Face causal LM, by its own forward."""

    def __init__(self, model: Any, prompts: Prompts, pad: int) -> None:
        from aigq_tasks.policy.cache import shared_prefill, with_room

        ids, self._mask = left_pad(prompts, pad, model.device)
        self._model = model
        self._cache = with_room(shared_prefill(model, ids[:, :-1], self._mask[:, :-1]))
        self._position = self._mask.sum(dim=1, keepdim=True) - 1

    def next(self, tokens: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self._model(
            input_ids=tokens[:, None],
            attention_mask=self._mask,
            position_ids=self._position,
            past_key_values=self._cache,
            use_cache=True,
        ).logits[:, -1]
        self._mask = torch.cat([self._mask, self._mask.new_ones(len(self._mask), 1)], dim=1)
        self._position = self._position + 1
        return logits

    def keep(self, rows: torch.Tensor) -> None:
        self._mask, self._position = self._mask[rows], self._position[rows]
        self._cache.batch_select_indices(rows)


def is_plain_qwen(model: Any) -> bool:
    """Whether `QwenSteps` computes what the forward of this Hugging Face model would."""
    kind, config = type(model), model.config
    return (
        f"{kind.__module__}.{kind.__name__}" == QWEN
        and model.device.type == "cpu"
        and model.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and config._attn_implementation == "sdpa"
        and is_plain(config)
    )


class _Joined:
    """Matrices (outputs, inputs) that multiply the same vectors, as one."""

    def __init__(self, parts: Sequence[torch.Tensor]) -> None:
        self._parts, self._whole = parts, torch.cat(list(parts))

    def times(self, hidden: torch.Tensor, first: int = 0) -> torch.Tensor:
        """(B, T, inputs) -> (B, T, outputs of the parts from number `first` on)."""
        parts = self._parts[first:]
        if hidden.size(0) * hidden.size(1) == 1:
            # One vector has a kernel of its own, which rounds by the number of outputs.
            return torch.cat([linear(hidden, part) for part in parts], dim=-1)
        return linear(hidden, self._whole[-sum(map(len, parts)) :])


class _Layer:
    """One layer, products of the same input joined. Hidden states are (B, T, C)."""

    def __init__(self, layer: Mapping[str, torch.Tensor], size: int, eps: float) -> None:
        """layer: weights by name; size: of a head."""
        self.size, self.eps = size, eps
        parts = [layer[f"self_attn.{name}_proj"] for name in "qkv"]
        self.heads, self.groups = (len(part) // self.size for part in parts[:2])
        self.qkv = _Joined(parts)
        scales = [
            (layer["self_attn.q_norm"], self.heads),
            (layer["self_attn.k_norm"], self.groups),
        ]
        self.scale = torch.cat([norm.expand(count, -1) for norm, count in scales])
        self.out, self.down = layer["self_attn.o_proj"], layer["mlp.down_proj"]
        self.gate_up = _Joined([layer["mlp.gate_proj"], layer["mlp.up_proj"]])
        self.before, self.between = layer["input_layernorm"], layer["post_attention_layernorm"]

    def project(
        self, hidden: torch.Tensor, turn: tuple[torch.Tensor, torch.Tensor], ask: bool = True
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Queries (B, heads, T, size), keys and values (B, groups, T, size), with positions in
        them. ask: whether there are queries at all; if not, none of the heads."""
        hidden = rms_norm(hidden, hidden.shape[-1:], self.before, self.eps)
        joined = self.qkv.times(hidden, 0 if ask else 1)
        heads = joined.view(*joined.shape[:2], -1, self.size)
        last = heads.size(2) - self.groups  # queries' and keys' heads are turned, values' are not
        turned, values = heads[:, :, :last], heads[:, :, last:]
        scale = self.scale if ask else self.scale[self.heads :]
        turned = _rotated(scale * rms_norm(turned, (self.size,), None, self.eps), *turn)
        last -= self.groups
        queries, keys = turned[:, :, :last], turned[:, :, last:]
        return queries.transpose(1, 2), keys.transpose(1, 2), values.transpose(1, 2)

    def finish(self, hidden: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
        """Add what attention, (B, T, heads · size), and the layer's MLP have to say."""
        hidden = hidden + linear(attended, self.out)
        inner = rms_norm(hidden, hidden.shape[-1:], self.between, self.eps)
        gate, up = self.gate_up.times(inner).chunk(2, dim=-1)
        return hidden + linear(silu(gate) * up, self.down)


class QwenSteps:
    """Steps of a Qwen3 on the CPU (see `is_plain_qwen`).

    Equal prompts share a prefill; prompts of similar length are padded together; the last layer
    of a prefill stops at its keys and values, for nobody asks what comes after them.
    """

    def __init__(self, model: FrozenQwen, prompts: Prompts, pad: int) -> None:
        config = model.config
        self._embedding, self._head, self._norm = model.embedding, model.head, model.norm
        self._eps = config.rms_norm_eps
        # Rotary positions: one over theta^(2i / size) for i = 0, 1, ... (Su et al., 2021, eq. 15).
        even = torch.arange(0, config.head_dim, 2, dtype=torch.float)
        self._speed = 1.0 / config.rope_parameters["rope_theta"] ** (even / config.head_dim)
        self._layers = [
            _Layer(model.layer(number), config.head_dim, self._eps)
            for number in range(config.num_hidden_layers)
        ]
        lengths = torch.tensor([len(prompt) - 1 for prompt in prompts])
        self._position, self._used = lengths, int(lengths.max())
        layer, room = self._layers[0], self._used + ROOM
        shape = (len(prompts), layer.groups, room, layer.size)
        self._states = [
            (self._head.new_zeros(shape), self._head.new_zeros(shape)) for _ in self._layers
        ]
        self._padding = self._used - lengths
        self._bias = self._biases()
        self._prefill(prompts, pad)

    def next(self, tokens: torch.Tensor) -> torch.Tensor:
        self._used += 1
        if self._used > self._states[0][0].size(2):
            room = self._used + max(ROOM, self._used // 2)
            self._states = [
                (grown(keys, room), grown(values, room)) for keys, values in self._states
            ]
            self._bias = self._biases()
        bias = None if self._bias is None else self._bias[..., : self._used]
        hidden = self._embedding[tokens][:, None]
        turn = self._turn(self._position[:, None])
        for layer, (all_keys, all_values) in zip(self._layers, self._states, strict=True):
            queries, keys, values = layer.project(hidden, turn)
            all_keys[:, :, self._used - 1], all_values[:, :, self._used - 1] = (
                keys[:, :, 0],
                values[:, :, 0],
            )
            attended = scaled_dot_product_attention(
                # The heads that share keys, as if they were tokens.
                queries.reshape(len(tokens), layer.groups, -1, layer.size),
                all_keys[:, :, : self._used],
                all_values[:, :, : self._used],
                attn_mask=bias,
            )
            hidden = layer.finish(hidden, attended.reshape(len(tokens), 1, -1))
        self._position = self._position + 1
        hidden = rms_norm(hidden[:, 0], hidden.shape[-1:], self._norm, self._eps)
        return linear(hidden, self._head)

    def keep(self, rows: torch.Tensor) -> None:
        self._position, self._padding = self._position[rows], self._padding[rows]
        self._bias = self._biases()
        to = (rows != torch.arange(len(rows))).nonzero().squeeze(1)
        source, used = rows[to], self._used
        for kept in (one for states in self._states for one in states):
            kept[to, :, :used] = kept[source, :, :used]
        self._states = [(keys[: len(rows)], values[: len(rows)]) for keys, values in self._states]

    def _biases(self) -> torch.Tensor | None:
        """(n, 1, 1, room): -inf at padding, else 0; None without any, as transformers has it."""
        if not self._padding.any():
            return None
        places = torch.arange(self._states[0][0].size(2))
        bias = torch.zeros(len(self._padding), len(places))
        return bias.masked_fill_(places < self._padding[:, None], -torch.inf)[:, None, None]

    def _turn(self, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosines and sines for positions (B, T): (B, T, 1, size / 2) each."""
        angles = (positions[..., None].float() * self._speed)[:, :, None]
        return angles.cos(), angles.sin()

    def _prefill(self, prompts: Prompts, pad: int) -> None:
        rows: dict[tuple[int, ...], list[int]] = {}
        for row, prompt in enumerate(prompts):
            rows.setdefault(tuple(prompt[:-1]), []).append(row)
        distinct = sorted((told for told in rows if told), key=len)
        for start in range(0, len(distinct), PREFILL_ROWS):
            part = distinct[start : start + PREFILL_ROWS]
            places = [(row, i) for i, told in enumerate(part) for row in rows[told]]
            self._prefill_part(*left_pad(part, pad, self._head.device), torch.tensor(places))

    def _prefill_part(self, ids: torch.Tensor, mask: torch.Tensor, places: torch.Tensor) -> None:
        """ids, mask: (P, T) of distinct prompts; places: (rows, 2), row of the batch and its prompt
        here."""
        row, source = places.T
        length, own = ids.size(1), slice(self._used - ids.size(1), self._used)
        seen = _seen(mask)
        hidden = self._embedding[ids]
        turn = self._turn((mask.cumsum(dim=1) - 1).clamp(min=0))
        last = self._layers[-1]
        for layer, (all_keys, all_values) in zip(self._layers, self._states, strict=True):
            queries, keys, values = layer.project(hidden, turn, ask=layer is not last)
            all_keys[row, :, own], all_values[row, :, own] = keys[source], values[source]
            if layer is last:
                break
            attended = scaled_dot_product_attention(
                queries,
                keys,
                values,
                attn_mask=seen,
                is_causal=seen is None,
                enable_gqa=layer.heads > layer.groups,
            )
            attended = attended.transpose(1, 2).reshape(len(ids), length, -1)
            hidden = layer.finish(hidden, attended)


def _seen(mask: torch.Tensor) -> torch.Tensor | None:
    """(B, T) 1 for a token -> (B, 1, T, T) bool, what each token may look at; None where nothing
    is padded: the kernel then needs no mask."""
    if mask.all():
        return None
    length = mask.size(1)
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    return causal & mask[:, None, None, :].bool()


def _rotated(heads: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor) -> torch.Tensor:
    """Rotary positions: heads (B, T, n, size), halves turned by the angles."""
    first, second = heads.chunk(2, dim=-1)
    return torch.cat([first * cosines - second * sines, second * cosines + first * sines], dim=-1)
