"""The versioned leaf-category classifier that Cate HR and Unique Cates map queries with.

A text seen in training has the category it was seen with most; any other goes through TF-IDF of
character and word n-grams and one linear support vector machine per category. A text that fits no
category (gibberish, another trade) is `UNKNOWN` rather than a lucky guess: no category may be hit
by chance.
"""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from safetensors.numpy import load, save
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.svm import LinearSVC

from aigq_tasks.context.queries import normalize
from aigq_tasks.errors import AigqError

UNKNOWN = ""
MODEL_FILE, WEIGHTS_FILE = "category.json", "category.safetensors"

# 8,000 texts of 12,000 n-grams train in seconds; the weights of 300 categories take 7 MB.
MAX_TEXTS = 8_000
MAX_CHAR_NGRAMS, MAX_WORD_NGRAMS = 8_000, 4_000
# One-against-rest margins lie near -1 when no category claims a text. On the 288 categories of The
# Complete Journey -0.5 keeps 98 % of the right answers to unseen phrases and 2 % of random letters.
MIN_MARGIN = -0.5
_CHUNK = 4096

Weights = Mapping[str, npt.NDArray[np.generic]]


class CategoryClassifier:
    """Texts -> leaf categories. Built by `train` or `from_files`; the two are equal to the byte."""

    def __init__(
        self,
        phrases: Mapping[str, str],
        categories: Sequence[str],
        char_ngrams: Sequence[str],
        word_ngrams: Sequence[str],
        weights: Weights,
    ) -> None:
        self.categories = tuple(categories)
        self._phrases = dict(phrases)
        self._ngrams = {"char": list(char_ngrams), "word": list(word_ngrams)}
        self._weights = dict(weights)
        self._vectorizers = (
            _fitted(_char_vectorizer(char_ngrams), weights["char_idf"]),
            _fitted(_word_vectorizer(word_ngrams), weights["word_idf"]),
        )
        self._coefficients = weights["coefficients"].astype(np.float32)
        self._memo = {UNKNOWN: UNKNOWN, **phrases}

    def classify(self, texts: Sequence[str]) -> list[str]:
        """The category of each text, `UNKNOWN` where none fits. Texts are normalised first."""
        if all(text in self._memo for text in texts):  # normal already: what is asked most
            return [self._memo[text] for text in texts]
        queries = [normalize(text) for text in texts]
        new = sorted({query for query in queries if query not in self._memo})
        for start in range(0, len(new), _CHUNK):
            chunk = new[start : start + _CHUNK]
            self._memo.update(zip(chunk, self._predict(chunk), strict=True))
        return [self._memo[query] for query in queries]

    @cached_property
    def version(self) -> str:
        """SHA-256 over the names and contents of the files."""
        digest = hashlib.sha256()
        for name, data in sorted(self.to_files().items()):
            digest.update(f"{name} {hashlib.sha256(data).hexdigest()}\n".encode())
        return digest.hexdigest()

    def to_files(self) -> dict[str, bytes]:
        model = {
            "categories": self.categories,
            "char_ngrams": self._ngrams["char"],
            "word_ngrams": self._ngrams["word"],
            "phrases": self._phrases,
        }
        text = json.dumps(model, sort_keys=True, separators=(",", ":"))
        return {MODEL_FILE: text.encode(), WEIGHTS_FILE: save(self._weights)}

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> "CategoryClassifier":
        model = json.loads(files[MODEL_FILE])
        return cls(
            model["phrases"],
            model["categories"],
            model["char_ngrams"],
            model["word_ngrams"],
            load(files[WEIGHTS_FILE]),
        )

    def _predict(self, texts: Sequence[str]) -> list[str]:
        features = sp.hstack([v.transform(texts) for v in self._vectorizers], format="csr")
        margins = features @ self._coefficients + self._weights["intercept"]
        best = margins.argmax(axis=1)
        sure = (margins.max(axis=1) >= MIN_MARGIN) & (features.getnnz(axis=1) > 0)
        return [
            self.categories[column] if claimed else UNKNOWN
            for column, claimed in zip(best, sure, strict=True)
        ]


def train(pairs: Iterable[tuple[str, str]]) -> CategoryClassifier:
    """Fit on (text, leaf category) pairs: item texts and titles, and queries that led to clicks.

    Deterministic, whatever the order of the pairs. Raises AigqError with fewer than three
    categories (one-against-rest has no margins to compare).
    """
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for text, category in pairs:
        if category and (query := normalize(text)):
            counts[query][category] += 1
    phrases = {
        text: min(seen, key=lambda category: (-seen[category], category))
        for text, seen in sorted(counts.items())
    }
    categories = sorted(set(phrases.values()))
    if len(categories) < 3:
        raise AigqError(
            f"{len(categories)} leaf categories to learn from, at least 3 are needed; "
            "check the category column of the items"
        )
    texts = _training_texts(phrases, counts)
    char, word = _char_vectorizer(), _word_vectorizer()
    features = sp.hstack([char.fit_transform(texts), word.fit_transform(texts)], format="csr")
    machine = LinearSVC(random_state=0).fit(features, [phrases[text] for text in texts])
    weights = {
        "char_idf": char.idf_.astype(np.float32),
        "word_idf": word.idf_.astype(np.float32),
        # Half precision halves the file at the same accuracy on unseen phrases.
        "coefficients": np.ascontiguousarray(machine.coef_.T, dtype=np.float16),
        "intercept": machine.intercept_.astype(np.float32),
    }
    return CategoryClassifier(
        phrases,
        [str(category) for category in machine.classes_],
        [str(term) for term in char.get_feature_names_out()],
        [str(term) for term in word.get_feature_names_out()],
        weights,
    )


def _training_texts(phrases: Mapping[str, str], counts: Mapping[str, Counter[str]]) -> list[str]:
    """At most MAX_TEXTS texts: every category's most frequent first, in turn, so that none is
    crowded out."""
    ranked = sorted(phrases, key=lambda text: (phrases[text], -counts[text].total(), text))
    turn: Counter[str] = Counter()
    order = []
    for text in ranked:
        order.append((turn[phrases[text]], text))
        turn[phrases[text]] += 1
    return [text for _, text in sorted(order)[:MAX_TEXTS]]


def _char_vectorizer(ngrams: Sequence[str] | None = None) -> TfidfVectorizer:
    return TfidfVectorizer(
        analyzer="char_wb",
        ngram_range=(2, 5),
        max_features=MAX_CHAR_NGRAMS,
        vocabulary=ngrams,
        lowercase=False,
        sublinear_tf=True,
        dtype=np.float32,
    )


def _word_vectorizer(ngrams: Sequence[str] | None = None) -> TfidfVectorizer:
    return TfidfVectorizer(
        tokenizer=str.split,
        token_pattern=None,
        ngram_range=(1, 2),
        max_features=MAX_WORD_NGRAMS,
        vocabulary=ngrams,
        lowercase=False,
        sublinear_tf=True,
        dtype=np.float32,
    )


def _fitted(vectorizer: TfidfVectorizer, idf: npt.NDArray[np.generic]) -> TfidfVectorizer:
    vectorizer.idf_ = idf
    return vectorizer
