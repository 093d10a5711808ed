"""Clusters of query embeddings: the needs behind strings, as far as an encoder sees them.

What a shop can have without a language model that writes: its most frequent texts are embedded and
grouped by k-means (Sculley, Web-scale k-means clustering, WWW 2010). Another text belongs to the
cluster of the nearest centre.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import pandas as pd
import safetensors.numpy
from numpy.typing import NDArray

from aigq_tasks.recall.config import ClusterConfig
from aigq_tasks.storage.canonical import to_json

VECTORS_FILE, TEXTS_FILE = "vectors.safetensors", "texts.json"

Vectors = NDArray[np.float32]
Embed = Callable[[Sequence[str]], Vectors]  # n texts -> (n, d) unit rows


@dataclass(frozen=True)
class Embedded:
    """Unit vectors of the most frequent texts of the log, stored in half precision.

    Attributes:
        texts: sorted.
        rows: float16 (texts, d).
        centres: float32 (clusters, d), unit rows.
        embed: of texts that are not stored; None: such a text has the zero vector, which is like
            nothing.
    """

    texts: tuple[str, ...]
    rows: NDArray[np.float16]
    centres: Vectors
    embed: Embed | None = None

    def vectors(self, texts: Sequence[str]) -> Vectors:
        """float32 (n, d)."""
        at = self._index.get_indexer(pd.Index(list(texts), dtype=object))
        found = np.zeros((len(texts), self.centres.shape[1]), np.float32)
        found[at >= 0] = self.rows[at[at >= 0]]
        new = np.flatnonzero(at < 0).tolist()
        if new and self.embed is not None:
            # Rounded as what is stored: the last digit depends on what is embedded with a text.
            found[new] = self.embed([texts[i] for i in new]).astype(np.float16)
        return found

    def cluster_of(self, texts: Sequence[str]) -> list[str]:
        """The number of each text's nearest centre, as text; "" for one without a vector."""
        vectors = self.vectors(texts)
        nearest = (vectors @ self.centres.T).argmax(axis=1).tolist()
        known = (np.abs(vectors).sum(axis=1) > 0).tolist()
        return [str(centre) if some else "" for centre, some in zip(nearest, known, strict=True)]

    @cached_property
    def _index(self) -> pd.Index:
        return pd.Index(self.texts, dtype=object)

    def to_files(self) -> dict[str, bytes]:
        """{file name: bytes}; equal objects give equal bytes."""
        stored: dict[str, NDArray[Any]] = {"rows": self.rows, "centres": self.centres}
        return {VECTORS_FILE: safetensors.numpy.save(stored), TEXTS_FILE: to_json(self.texts)}

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> Self:
        stored = safetensors.numpy.load(files[VECTORS_FILE])
        return cls(tuple(json.loads(files[TEXTS_FILE])), stored["rows"], stored["centres"])


def embedded(
    behaviours: pd.DataFrame,
    as_of: pd.Timestamp,
    embed: Embed,
    config: ClusterConfig,
    seed: int,
    parent: Embedded | None = None,
) -> Embedded:
    """Embed and cluster the contents of a log before `as_of`, the most frequent ones.

    A text that `parent` holds keeps its vector. The clusters are made anew: numbers of one day mean
    nothing on another. Same inputs give the same bytes.
    """
    from sklearn.cluster import MiniBatchKMeans
    from threadpoolctl import threadpool_limits

    counts = behaviours.loc[behaviours["time"] < as_of, "content"].value_counts()
    ordered = sorted(counts.items(), key=lambda found: (-int(found[1]), str(found[0])))
    texts = tuple(sorted(str(text) for text, _ in ordered[: config.texts]))
    old = set(parent.texts) if parent else set()
    new = [text for text in texts if text not in old]
    fresh = dict(zip(new, embed(new), strict=True)) if new else {}
    kept = [text for text in texts if text in old]
    if parent and kept:
        fresh |= dict(zip(kept, parent.vectors(kept), strict=True))
    rows = np.stack([fresh[text] for text in texts]).astype(np.float16)
    how = MiniBatchKMeans(
        min(config.clusters, len(texts)), batch_size=2048, n_init=1, random_state=seed
    )
    with threadpool_limits(1):  # sums in one order, whatever the cores
        how.fit(rows.astype(np.float32))
    centres: Vectors = how.cluster_centers_.astype(np.float32)
    centres /= np.maximum(np.linalg.norm(centres, axis=1, keepdims=True), 1e-12)
    return Embedded(texts, rows, centres)
