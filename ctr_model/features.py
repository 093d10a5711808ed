"""Features of (user, query, position) from a snapshot of the logs at one instant.

`FeatureBuilder` counts once what was known strictly before `as_of`, normally the start of a day;
every impression of that day is then featurised against the same snapshot, exactly as the nightly
scoring does it.  Nothing at or after `as_of` is read: an impression clicked later counts as not
clicked yet.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ctr_model.columns import Floats, Ints, Ragged, count_by, gather, ratio, sum_by
from ctr_model.history import DAY_US, Behaviours, Categories, EventLog, Impressions
from ctr_model.snapshot import Dealings, Rates, Shown, expected_clicks, recency_weight
from ctr_model.visit import VISIT_FEATURES, unvisited
from ctr_model.words import WordIndex

# Both windows are fixed, so that a feature means the same on every training day.
HISTORY_DAYS = 91  # behaviours: a season, long enough for the gap of a monthly purchase
HINT_DAYS = 28  # impressions

USER_FEATURES = (
    "user_events_7d",
    "user_events_28d",
    "user_searches_28d",
    "user_phrases",  # distinct contents
    "user_active_days_28d",
    "user_days_since_event",  # NaN: a cold user
    "user_own_brand_share",  # of the user's events
    "user_hints_28d",
    "user_hint_ctr",
)
QUERY_FEATURES = (
    "query_words",
    "query_characters",
    "query_own_brand",  # 1: names the shop's own brand
    "query_number",  # 1: has a digit, such as a size
    "query_seen",  # 1: anyone met this exact phrase
    "query_searches_7d",
    "query_searches_28d",
    "query_hints_28d",
    "query_ctr",
    "query_word_users",  # users of its rarest word; 0: a word nobody used
    "query_word_ctr",  # idf-weighted mean over its words
)
PAIR_FEATURES = (
    "pair_searches",
    "pair_clicks",
    "pair_days_since",
    "pair_gap",
    "pair_due",  # days since the last / mean gap: 1 means due now
)
NEAR_FEATURES = (
    "near_similarity",  # idf-weighted Jaccard with the most similar phrase of the user
    "near_containment",  # share of the query's idf found in that phrase
    "near_searches",
    "near_clicks",
    "near_days_since",
    "near_gap",
    "near_due",
    "word_affinity",  # idf-weighted mean recency weight of the query's words
)
SHOWN_FEATURES = (
    "shown_ignored_7d",
    "shown_ignored_28d",
    "shown_clicked_28d",
    "shown_days_since",
)
CATEGORY_FEATURES = (
    "category_share",  # of the user's recency weight
    "category_searches",
    "category_clicks",
    "category_days_since",
    "category_gap",
    "category_due",
    "category_ctr",
)
TIE_FEATURES = (  # how strongly the latest behaviours lead to the query; whoever asks counts that
    "tie_text",
    "tie_category",
    "tie_cluster",
)
FEATURES = (
    *USER_FEATURES,
    *QUERY_FEATURES,
    *PAIR_FEATURES,
    *NEAR_FEATURES,
    *SHOWN_FEATURES,
    *CATEGORY_FEATURES,
    *VISIT_FEATURES,
    *TIE_FEATURES,
    "position",
)


@dataclass(frozen=True)
class Phrases:
    """Distinct queries of one call: text features, codes (-1 unknown) and words."""

    text: Floats  # (phrases, 4): words, characters, own brand, number
    content: Ints
    category: Ints
    words: Ragged  # word codes, -1 unknown

    @classmethod
    def of(cls, queries: Sequence[str], log: EventLog, own_brand: Sequence[str]) -> "Phrases":
        words = [list(dict.fromkeys(query.split())) for query in queries]
        texts = [_text(query, own_brand) for query in queries]
        return cls(
            text=np.array(texts, np.float64).reshape(-1, 4),
            content=np.array([log.contents.get(query, -1) for query in queries], np.int64),
            category=np.array([log.category_code(query) for query in queries], np.int64),
            words=Ragged.of([[log.tokens.get(word, -1) for word in row] for row in words]),
        )


class FeatureBuilder:
    """Snapshot of the logs at `as_of`; `pairs` turns (user, query, position) into rows."""

    def __init__(self, log: EventLog, as_of: pd.Timestamp, own_brand: Sequence[str]) -> None:
        """Count everything once; `log` may reach past `as_of`, which is cut here.

        own_brand: phrases by which the shop's own brand is named in a query or content, as whole
        words, normalised as they are.
        """
        self.as_of = as_of
        self._log = log
        self._own_brand = own_brand
        now = int(as_of.to_datetime64().astype("datetime64[us]").astype(np.int64))
        events = _behaviours_before(log.behaviours, now)
        hints = _impressions_before(log.impressions, now)
        clicked = hints.clicked & (hints.click_time < now)
        expected = expected_clicks(hints.position, clicked)
        overall = float(clicked.mean()) if len(clicked) else float("nan")
        n_users, n_phrases, n_words = len(log.users), len(log.contents), len(log.tokens)

        self._phrases = Dealings.of(events, events.content, n_phrases, now)
        self._words = WordIndex.of(self._phrases, log.content_tokens, n_words)
        self._shown = Shown.of(hints, clicked, n_phrases, now)
        hint, word = log.content_tokens.take(hints.content)
        self._word_rates = Rates.of(word, clicked[hint], expected[hint], n_words, overall)

        n = len(log.categories)
        self._categories = Dealings.of(events, log.content_category[events.content], n, now)
        category = log.content_category[hints.content]
        self._category_rates = Rates.of(category, clicked, expected, n, overall)
        events_in = count_by(self._categories.keys.things, n)
        self._category_met = (events_in + self._category_rates.shown > 0).astype(np.float64)

        age = (now - events.time) / DAY_US
        self._user_weight = sum_by(events.user, recency_weight(age), n_users)
        user_rates = Rates.of(hints.user, clicked, expected, n_users, overall)
        query_rates = Rates.of(hints.content, clicked, expected, n_phrases, overall)
        self._users = _user_table(log, events, age, user_rates, own_brand)
        self._queries = _query_table(events, age, query_rates, n_phrases)

    @classmethod
    def from_behaviours(
        cls,
        behaviours: pd.DataFrame,
        impressions: pd.DataFrame,
        as_of: pd.Timestamp,
        own_brand: Sequence[str],
        categories: Categories | None = None,
    ) -> "FeatureBuilder":
        """Snapshot at `as_of` (naive UTC) of two tables of the log contract.

        behaviours: user_id, time, kind, content (normalised).  impressions: user_id, time,
        position, query (normalised), clicked, click_time.  categories: leaf category of a phrase,
        "" for none; called once per distinct phrase here and in every `pairs`, so pass a cheap or
        cached function.  own_brand: as in the constructor.  ValueError on missing columns, null
        users or null phrases.
        """
        past = behaviours[behaviours["time"] < as_of]
        hints = impressions[impressions["time"] < as_of]
        return cls(EventLog.of(past, hints, categories), as_of, own_brand)

    def pairs(
        self, user_ids: Sequence[str], queries: Sequence[str], positions: Ints | int
    ) -> NDArray[np.float32]:
        """float32 (n, len(FEATURES)) of n (user, query) pairs; NaN where a value does not exist.

        Users and queries may be unknown: the words of a new query still meet the history.
        queries: normalised.  positions: 1-based slots, (n,) or one for all.  Nothing is known of a
        visit; `at_request` fills that in.  ValueError when the lengths differ.
        """
        if len(user_ids) != len(queries):
            raise ValueError(f"{len(user_ids)} users for {len(queries)} queries; pass pairs")
        user = self._log.user_codes(user_ids)
        number = {query: i for i, query in enumerate(dict.fromkeys(queries))}
        query = np.array([number[text] for text in queries], np.int64)
        phrases = Phrases.of(list(number), self._log, self._own_brand)
        content, category = phrases.content[query], phrases.category[query]
        near = self._words.nearest(user, query, phrases.words)
        blocks = (
            self._users[user],
            self._about(phrases)[query],
            self._phrases.columns(self._phrases.keys.find(user, content)),
            np.column_stack([near.similarity, near.containment]),
            self._phrases.columns(near.row),
            near.affinity[:, None],
            self._shown.columns(self._shown.keys.find(user, content)),
            self._category(user, category),
            unvisited(len(user)),
            np.zeros((len(user), len(TIE_FEATURES))),
            np.broadcast_to(np.asarray(positions, np.float64), len(user))[:, None],
        )
        return np.concatenate(blocks, axis=1, dtype=np.float32, casting="same_kind")

    def _about(self, phrases: Phrases) -> Floats:
        """(phrases, QUERY_FEATURES)."""
        n = len(phrases.content)
        phrase, word = phrases.words.take(np.arange(n))
        rarest = np.full(n, np.nan)
        np.fmin.at(rarest, phrase, gather(self._words.users, word, 0.0))
        idf = self._words.word_idf(word)
        rate = gather(self._word_rates.rate, word, self._word_rates.overall)
        mean_rate = ratio(sum_by(phrase, idf * rate, n), sum_by(phrase, idf, n))
        return np.column_stack([phrases.text, self._queries[phrases.content], rarest, mean_rate])

    def _category(self, user: Ints, category: Ints) -> Floats:
        """(n, CATEGORY_FEATURES); NaN where the query has no category anyone was met in."""
        row = self._categories.keys.find(user, category)
        share = ratio(
            gather(self._categories.weight, row, 0.0), gather(self._user_weight, user, 0.0)
        )
        rate = gather(self._category_rates.rate, category, np.nan)
        columns = np.column_stack([share, self._categories.columns(row), rate])
        columns[gather(self._category_met, category, 0.0) == 0] = np.nan
        return columns


def at_request(
    rows: NDArray[np.float32], visit: Floats, ties: Floats, positions: Ints | int
) -> NDArray[np.float32]:
    """Rows of `pairs` at the second of a request: visit (n, VISIT_FEATURES), ties (n,
    TIE_FEATURES), positions (n,) or one for all. A new array."""
    filled = rows.copy()
    first = FEATURES.index(VISIT_FEATURES[0])
    filled[:, first : first + len(VISIT_FEATURES)] = visit
    first = FEATURES.index(TIE_FEATURES[0])
    filled[:, first : first + len(TIE_FEATURES)] = ties
    filled[:, FEATURES.index("position")] = positions
    return filled


def _behaviours_before(events: Behaviours, now: int) -> Behaviours:
    """The HISTORY_DAYS before `now` (µs), which is excluded."""
    a, b = np.searchsorted(events.time, [now - HISTORY_DAYS * DAY_US, now])
    return Behaviours(events.time[a:b], events.user[a:b], events.content[a:b], events.search[a:b])


def _impressions_before(hints: Impressions, now: int) -> Impressions:
    """The HINT_DAYS before `now` (µs), which is excluded."""
    a, b = np.searchsorted(hints.time, [now - HINT_DAYS * DAY_US, now])
    return Impressions(
        hints.time[a:b],
        hints.user[a:b],
        hints.content[a:b],
        hints.position[a:b],
        hints.clicked[a:b],
        hints.click_time[a:b],
    )


def _user_table(
    log: EventLog, events: Behaviours, age: Floats, rates: Rates, own_brand: Sequence[str]
) -> Floats:
    """(users + 1, USER_FEATURES); the last row, which code -1 meets, is the unknown user."""
    n = len(log.users) + 1
    user, month = events.user, age <= 28
    last = np.full(n, np.nan)
    last[user] = age  # in time order: the newest wins
    day = events.time // DAY_US
    branded = np.array([_names(text, own_brand) for text in log.contents], bool)
    return np.column_stack(
        [
            count_by(user[age <= 7], n),
            count_by(user[month], n),
            count_by(user[month & events.search], n),
            _distinct_per_user(user, events.content, n),
            _distinct_per_user(user[month], day[month], n),
            last,
            ratio(count_by(user[branded[events.content]], n), count_by(user, n)),
            np.append(rates.shown, 0),
            np.append(rates.rate, rates.overall),
        ]
    )


def _query_table(events: Behaviours, age: Floats, rates: Rates, n_phrases: int) -> Floats:
    """(phrases + 1, 5): seen, searches 7 d, 28 d, hints, rate; the last row is a new phrase."""
    n = n_phrases + 1
    searched = events.search
    shown = np.append(rates.shown, 0)
    return np.column_stack(
        [
            count_by(events.content, n) + shown > 0,
            count_by(events.content[searched & (age <= 7)], n),
            count_by(events.content[searched & (age <= 28)], n),
            shown,
            np.append(rates.rate, rates.overall),
        ]
    )


def _distinct_per_user(user: Ints, thing: Ints, n: int) -> Floats:
    width = int(thing.max(initial=0)) + 1
    return count_by(np.unique(user * width + thing) // width, n)


def _text(query: str, own_brand: Sequence[str]) -> tuple[float, float, float, float]:
    number = any(map(str.isdigit, query))
    return len(query.split()), len(query), _names(query, own_brand), number


def _names(text: str, phrases: Sequence[str]) -> bool:
    """Whether one of the phrases stands in the text as whole words."""
    padded = f" {text} "
    return any([f" {phrase} " in padded for phrase in phrases])
