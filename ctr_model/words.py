"""Queries against a user's own phrases, word by word: how a query never seen before gets features.

Words weigh by rarity over users, so that "milk 1 gal" is near "milk" and not near "bleach 1 gal".
"""

from dataclasses import dataclass

import numpy as np

from ctr_model.columns import Floats, Ints, Ragged, count_by, gather, ratio, runs, sum_by
from ctr_model.snapshot import Dealings, Keys


@dataclass(frozen=True)
class Nearest:
    """Per (user, query): the user's most similar phrase.  Columns (n,)."""

    row: Ints  # of the phrase `Dealings`; -1: no phrase shares a word
    similarity: Floats  # idf(q ∩ c) / idf(q ∪ c), weighted Jaccard
    containment: Floats  # idf(q ∩ c) / idf(q)
    affinity: Floats  # idf-weighted mean, over the query's words, of the user's recency weight


@dataclass(frozen=True)
class WordIndex:
    """Every user's phrases by word: (user, word) -> rows of the phrase `Dealings`.

    users: distinct users per word, (words,).  idf: log((1 + U) / (1 + users)) + 1 with U users in
    all; unknown_idf: that of a word nobody used.  weight: the user's recency weight per key.
    recency, mass: age in days and summed idf of each phrase row.
    """

    keys: Keys
    rows: Ragged
    weight: Floats
    users: Floats
    idf: Floats
    unknown_idf: float
    recency: Floats
    mass: Floats

    @classmethod
    def of(cls, phrases: Dealings, content_tokens: Ragged, n_tokens: int) -> "WordIndex":
        """Index the phrases; content_tokens: distinct word codes of every content code."""
        row, token = content_tokens.take(phrases.keys.things)
        order = np.argsort(phrases.keys.owners[row] * n_tokens + token, kind="stable")
        row_of = row[order]
        values, start, _, group = runs((phrases.keys.owners[row] * n_tokens + token)[order])
        keys = Keys(n_tokens, values)
        users = count_by(keys.things, n_tokens)
        unknown_idf = float(np.log1p(len(np.unique(phrases.keys.owners)))) + 1.0
        idf = unknown_idf - np.log1p(users)
        return cls(
            keys=keys,
            rows=Ragged(np.append(start, len(row)), row_of),
            weight=sum_by(group, phrases.weight[row_of], len(values)),
            users=users,
            idf=idf,
            unknown_idf=unknown_idf,
            recency=phrases.last,
            mass=sum_by(row, idf[token], len(phrases.last)),
        )

    def word_idf(self, word: Ints) -> Floats:
        """idf of word codes, (n,); -1 is a word nobody used."""
        return gather(self.idf, word, self.unknown_idf)

    def nearest(self, user: Ints, query: Ints, words: Ragged) -> Nearest:
        """Most similar phrase of each (user, row of `words`), both (n,); ties: the most recent."""
        n = len(user)
        pair, word = words.take(query)
        idf = self.word_idf(word)
        mass = sum_by(pair, idf, n)
        hit = self.keys.find(user[pair], word)
        affinity = ratio(sum_by(pair, idf * gather(self.weight, hit, 0.0), n), mass)

        found = np.flatnonzero(hit >= 0)
        source, row = self.rows.take(hit[found])
        width = max(len(self.mass), 1)
        key, group = np.unique(pair[found][source] * width + row, return_inverse=True)
        common = sum_by(group, idf[found][source], len(key))
        pair, row = np.divmod(key, width)
        similarity = common / (mass[pair] + self.mass[row] - common)
        best = self._most_similar(pair, row, similarity)

        at = pair[best]
        nearest = Nearest(np.full(n, -1, np.int64), np.zeros(n), np.zeros(n), affinity)
        nearest.row[at] = row[best]
        nearest.similarity[at] = similarity[best]
        nearest.containment[at] = common[best] / mass[at]
        return nearest

    def _most_similar(self, pair: Ints, row: Ints, similarity: Floats) -> Ints:
        """Of the candidates of each pair, which lie together, the index of the most similar; ties:
        the most recent, then the first row."""
        if not len(pair):
            return np.empty(0, np.int64)
        _, first, _, group = runs(pair)
        top = np.flatnonzero(similarity == np.maximum.reduceat(similarity, first)[group])
        order = top[np.lexsort((self.recency[row[top]], pair[top]))]  # a few, where all were many
        best: Ints = order[np.diff(pair[order], prepend=-1) > 0]
        return best
