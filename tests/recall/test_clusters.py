import numpy as np
import pytest
from recall.source_cases import AS_OF, behaviours

from aigq_tasks.recall.clusters import Embedded, embedded
from aigq_tasks.recall.config import ClusterConfig

NEEDS = ("milk", "tea", "jam")
HISTORY = behaviours(
    *[
        ("u", age, "search", f"{word} {need}")
        for age, word in ((1, "my"), (2, "our"))
        for need in NEEDS
    ],
    *[("u", 3, "item_click", need) for need in NEEDS],
    ("u", -1, "search", "future tea"),
)
CONFIG = ClusterConfig(texts=100, clusters=3)


def embed(texts: list[str]) -> np.ndarray:
    """The last word says what is meant."""
    rows = [np.eye(3)[NEEDS.index(text.split()[-1])] + 0.01 * len(text) for text in texts]
    return np.array([row / np.linalg.norm(row) for row in rows], np.float32)


def test_wordings_of_a_need_are_one_cluster() -> None:
    found = embedded(HISTORY, AS_OF, embed, CONFIG, seed=1)
    assert found.texts == tuple(
        sorted({*NEEDS, *(f"{w} {n}" for w in ("my", "our") for n in NEEDS)})
    )
    clusters = dict(zip(found.texts, found.cluster_of(found.texts), strict=True))
    for need in NEEDS:
        assert clusters[f"my {need}"] == clusters[f"our {need}"] == clusters[need]
    assert len(set(clusters.values())) == 3
    assert np.linalg.norm(found.centres, axis=1) == pytest.approx(1)


def test_a_new_text_goes_to_the_nearest_where_somebody_embeds_it() -> None:
    found = embedded(HISTORY, AS_OF, embed, CONFIG, seed=1)
    assert found.cluster_of(["their tea"]) == [""]
    knowing = Embedded(found.texts, found.rows, found.centres, embed)
    assert knowing.cluster_of(["their tea", "tea"]) == found.cluster_of(["tea", "tea"])
    assert knowing.vectors([]).shape == (0, 3)


def test_the_most_frequent_texts_are_kept() -> None:
    twice = behaviours(
        ("u", 1, "search", "jam"), ("u", 2, "search", "jam"), ("u", 1, "search", "tea")
    )
    assert embedded(twice, AS_OF, embed, ClusterConfig(texts=2), seed=1).texts == ("jam", "tea")
    more = behaviours(("u", 3, "search", "milk"))
    import pandas as pd

    three = pd.concat([twice, more])
    assert embedded(three, AS_OF, embed, ClusterConfig(texts=2), seed=1).texts == ("jam", "milk")


def test_bytes_are_equal_and_known_texts_are_not_embedded_again() -> None:
    first = embedded(HISTORY, AS_OF, embed, CONFIG, seed=1)
    assert embedded(HISTORY.iloc[::-1], AS_OF, embed, CONFIG, seed=1).to_files() == first.to_files()
    assert Embedded.from_files(first.to_files()).to_files() == first.to_files()

    def never(texts: list[str]) -> np.ndarray:
        raise AssertionError(texts)

    assert (
        embedded(HISTORY, AS_OF, never, CONFIG, seed=1, parent=first).to_files() == first.to_files()
    )
