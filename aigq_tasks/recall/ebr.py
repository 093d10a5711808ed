"""Embedding-based retrieval: a two-tower model from recent behaviour to the next search.

The user tower reads a bag of recent contents, the query tower a query's identity and words; a
shopper's queries are those of highest dot product. Trained with in-batch sampled softmax and the
logQ correction (Yi et al., RecSys 2019, section 3).
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
import safetensors.torch
import torch  # noqa: TID253 - this module is all torch; stages import it when they run
from numpy.typing import NDArray

from aigq_tasks.errors import AigqError
from aigq_tasks.recall.asked import DAY_US, Asked, Proposals, RecallSource, chunks, top_k
from aigq_tasks.recall.asked import KINDS as MEMORY_KINDS
from aigq_tasks.recall.config import EbrConfig
from aigq_tasks.storage.canonical import to_json

WEIGHTS_FILE, TABLE_FILE = "ebr.safetensors", "ebr.json"
KINDS = ("search", "item_click", "hint_click")
# First age in days of each recency bucket; fine around the weekly and fortnightly shopping trip.
BUCKETS = (0, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 16, 20, 25, 30, 45, 60, 90)
_USERS_AT_ONCE = 512

_PARTS = {"content": "contents", "query": "queries", "token": "tokens"}  # table -> vocabulary

Params = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Vocabulary:
    """What has an embedding. Entry i has row i + 1 of its table; row 0 is for the unknown."""

    contents: tuple[str, ...]
    queries: tuple[str, ...]  # sorted, so that equal scores go by text
    tokens: tuple[str, ...]

    def word_rows(self, texts: Sequence[str]) -> torch.Tensor:
        """Token rows of the words of texts, int64 (1 + texts, longest); none in row 0, 0 pads."""
        row_of = {token: i + 1 for i, token in enumerate(self.tokens)}
        tokens = [[row_of[word] for word in text.split() if word in row_of] for text in texts]
        rows = torch.zeros(1 + len(texts), max([1, *map(len, tokens)]), dtype=torch.int64)
        for i, of_text in enumerate(tokens):
            rows[i + 1, : len(of_text)] = torch.tensor(of_text)
        return rows


@dataclass(frozen=True)
class States:
    """State i: behaviours [start_i, stop_i) of a table in order of user and time, seen on day_i."""

    content: NDArray[np.int64]  # (behaviours,) row of the content's embedding
    kind: NDArray[np.int64]  # (behaviours,) index into KINDS
    event_day: NDArray[np.int64]  # (behaviours,) days since the epoch
    start: NDArray[np.int64]  # (states,)
    stop: NDArray[np.int64]  # (states,)
    day: NDArray[np.int64]  # (states,) days since the epoch

    def bag(self, rows: NDArray[np.int64]) -> tuple[torch.Tensor, torch.Tensor]:
        """Content rows and gate rows of some states' behaviours, int64 (rows, longest bag).

        Gate row = 1 + kind · len(BUCKETS) + recency bucket; gate row 0 pads.
        """
        longest = int((self.stop - self.start)[rows].max(initial=0))
        at = self.stop[rows, None] - 1 - np.arange(longest)
        inside = at >= self.start[rows, None]
        at = np.where(inside, at, 0)
        age = self.day[rows, None] - self.event_day[at]
        bucket = np.searchsorted(BUCKETS, age, side="right") - 1
        gate = np.where(inside, 1 + self.kind[at] * len(BUCKETS) + bucket, 0)
        return torch.from_numpy(np.where(inside, self.content[at], 0)), torch.from_numpy(gate)


@dataclass(frozen=True)
class Ebr(RecallSource):
    """A trained two-tower model."""

    name: ClassVar[str] = "ebr"
    config: EbrConfig
    vocabulary: Vocabulary
    params: Params

    def propose(self, asked: Asked, k: int) -> Proposals:
        """The k queries of highest dot product (exact search); ties go by query text. A user
        without history gets what is popular."""
        memory = asked.memory
        used, number = np.unique(memory.text, return_inverse=True)
        content = pd.Index(self.vocabulary.contents).get_indexer(memory.texts[used]) + 1
        kind = np.array([KINDS.index(name) for name in MEMORY_KINDS])[memory.kind]
        start = np.maximum(asked.start, asked.stop - self.config.max_events)
        day, rows = memory.time // DAY_US, content[number].astype(np.int64)
        states = States(rows, kind, day, start, asked.stop, asked.day)
        found: list[tuple[NDArray[np.intp], NDArray[np.floating]]] = []
        with torch.no_grad(), _one_thread():
            contents, towers = self._content_vectors, self._query_towers
            for part in chunks(len(asked), _USERS_AT_ONCE):
                bag = states.bag(np.arange(part.start, part.stop))
                user = user_tower(self.params, contents, *bag)
                scores = (user @ towers[1:].T + self.params["bias"][1:]).numpy()
                found += top_k(scores, k)
        return Proposals(
            np.array(self.vocabulary.queries, dtype=object),
            np.repeat(np.arange(len(asked)), [len(columns) for columns, _ in found]),
            np.concatenate([np.empty(0, np.int64), *(columns for columns, _ in found)]),
            np.concatenate([np.empty(0), *(values for _, values in found)]),
        )

    @cached_property
    def _content_vectors(self) -> torch.Tensor:
        return self._vectors("content", self.vocabulary.contents)

    @cached_property
    def _query_towers(self) -> torch.Tensor:
        return self._vectors("query", self.vocabulary.queries)

    def _vectors(self, table: str, texts: tuple[str, ...]) -> torch.Tensor:
        """(1 + texts, dim); the same for every user, so computed once."""
        with torch.no_grad(), _one_thread():
            return text_vectors(self.params, table, self.vocabulary.word_rows(texts))

    def to_files(self) -> dict[str, bytes]:
        """{file name: bytes}; equal objects give equal bytes."""
        table = {"config": self.config.model_dump(), "vocabulary": asdict(self.vocabulary)}
        return {WEIGHTS_FILE: safetensors.torch.save(self.params), TABLE_FILE: to_json(table)}

    @classmethod
    def from_files(cls, files: dict[str, bytes]) -> Self:
        table = json.loads(files[TABLE_FILE])
        vocabulary = {part: tuple(texts) for part, texts in table["vocabulary"].items()}
        params = safetensors.torch.load(files[WEIGHTS_FILE])
        return cls(EbrConfig(**table["config"]), Vocabulary(**vocabulary), params)


@contextmanager
def _one_thread() -> Iterator[None]:
    """On cores that other work shares, two threads spend their time waiting for each other:
    training took over 280 s instead of 21 s. One also makes bytes independent of the cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def text_vectors(params: Params, table: str, words: torch.Tensor) -> torch.Tensor:
    """float32 (1 + texts, dim): own embedding + mean embedding of the words.

    table: "query" for the query tower, "content" for what the user tower sums up. words: of
    `Vocabulary.word_rows`.
    """
    return params[table] + torch.nn.functional.embedding_bag(words, params["token"], padding_idx=0)


def user_tower(
    params: Params, contents: torch.Tensor, content: torch.Tensor, gate: torch.Tensor
) -> torch.Tensor:
    """float32 (users, dim) from bags of behaviours.

    bag = Σ_e contents[content_e] ⊙ gate[kind_e, recency_e]; user = bag + MLP(bag). The product
    lets a content count for more, or less, at one age than at another, which a sum of two
    embeddings cannot express.

    Args:
        contents: `text_vectors` of all contents.
        content, gate: see `States.bag`, int64 (users, events).
    """
    gates = torch.nn.functional.embedding(gate, params["gate"], padding_idx=0)
    bag = (torch.nn.functional.embedding(content, contents) * gates).sum(dim=1)
    hidden = torch.relu(bag @ params["hidden.weight"] + params["hidden.bias"])
    return bag + hidden @ params["out.weight"] + params["out.bias"]


def sampled_softmax_loss(
    user: torch.Tensor,
    query: torch.Tensor,
    bias: torch.Tensor,
    target: torch.Tensor,
    log_q: torch.Tensor,
) -> torch.Tensor:
    """Mean in-batch softmax cross-entropy with the logQ correction (Yi et al. 2019, Eq 5).

    Logit of pair i for the query of pair j: user_i · query_j + bias_j − log Q_j, where Q_j is the
    chance that a drawn pair has that query: without it, popular queries are pushed down only for
    being drawn as negatives often. Other pairs with the same query as pair i are no negatives.

    Args:
        user, query: float32 (pairs, dim). bias, log_q: float32 (pairs,). target: int64 (pairs,).
    """
    same = (target[:, None] == target) & ~torch.eye(len(target), dtype=torch.bool)
    logits = (user @ query.T + bias - log_q).masked_fill(same, -torch.inf)
    return torch.nn.functional.cross_entropy(logits, torch.arange(len(target)))


def train(
    behaviours: pd.DataFrame,
    as_of: pd.Timestamp,
    config: EbrConfig,
    seed: int,
    parent: Ebr | None = None,
) -> tuple[Ebr, list[float]]:
    """Fit on pairs (what the user did before a day, a search of that day). Returns the model and
    the mean loss of each epoch (nats).

    From scratch over all searches before `as_of` (`epochs`), or from `parent` over those of the
    last `update_days` (`update_epochs`). The vocabulary is always that of `behaviours`: entries
    that `parent` knows keep their rows, new ones start fresh. Hint clicks are history but never
    targets: what was shown would teach itself. Same inputs give the same bytes.

    Args:
        behaviours: user_id, time, kind, content; only rows before `as_of` are read.
        seed: of the first parameters and of the batches.
        parent: the model to continue from, of the same `dim` and `hidden`.

    Raises:
        AigqError: no search to learn from, or `parent` has other sizes.
    """
    if parent and (parent.config.dim, parent.config.hidden) != (config.dim, config.hidden):
        raise AigqError("the earlier EBR model has other sizes; train this one from scratch")
    past = _past(behaviours, as_of)
    vocabulary = _vocabulary(past, config)
    since = as_of - pd.Timedelta(days=config.update_days) if parent else past["time"].min()
    states, state, target = _pairs(past, since, vocabulary, config.max_events)
    if not len(target):
        raise AigqError(f"no search before {as_of} to train EBR on; check the day's logs")
    params = _initial(vocabulary, past, config, seed, parent)
    epochs, rate = config.epochs, config.learning_rate
    if parent:
        epochs, rate = config.update_epochs, config.update_learning_rate
    rng = np.random.default_rng(seed)
    batches = [_batches(state, config.states_per_batch, rng) for _ in range(epochs)]
    at_rest = ("bias", "gate", "hidden.bias", "out.bias")  # no decay: a gate rests at 1, not at 0
    groups: list[dict[str, Any]] = [
        {"params": [value for name, value in params.items() if name not in at_rest]},
        {"params": [params[name] for name in at_rest], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=rate, weight_decay=config.weight_decay)
    with _one_thread():
        losses = _fit(params, vocabulary, states, state, target, batches, optimizer)
    return Ebr(config, vocabulary, {k: v.detach() for k, v in params.items()}), losses


def _fit(
    params: Params,
    vocabulary: Vocabulary,
    states: States,
    state: NDArray[np.int64],
    target: NDArray[np.int64],
    batches: Sequence[Sequence[NDArray[np.int64]]],
    optimizer: torch.optim.Optimizer,
) -> list[float]:
    """Step through epochs of batches of pairs, learning ever more slowly; their mean losses."""
    content_words = vocabulary.word_rows(vocabulary.contents)
    query_words = vocabulary.word_rows(vocabulary.queries)
    log_q = torch.log(torch.from_numpy(np.bincount(target)) / len(target))
    decay = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, sum(map(len, batches)))
    losses = []
    for epoch in batches:
        total = 0.0
        for pairs in epoch:
            rows, user_row = np.unique(state[pairs], return_inverse=True)
            wanted = torch.from_numpy(target[pairs])
            contents = text_vectors(params, "content", content_words)
            user = user_tower(params, contents, *states.bag(rows))[torch.from_numpy(user_row)]
            query, bias = text_vectors(params, "query", query_words)[wanted], params["bias"][wanted]
            loss = sampled_softmax_loss(user, query, bias, wanted, log_q[wanted])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            decay.step()
            total += loss.item() * len(pairs)
        losses.append(total / len(target))
    return losses


def _batches(
    state: NDArray[np.int64], states_per_batch: int, rng: np.random.Generator
) -> list[NDArray[np.int64]]:
    """Shuffle states into batches; each is the indices of its states' pairs."""
    shuffled = rng.permutation(state.max() + 1)
    batch = shuffled[state] // states_per_batch
    order = np.argsort(batch, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(batch[order])) + 1)


def _past(behaviours: pd.DataFrame, as_of: pd.Timestamp) -> pd.DataFrame:
    before = behaviours[behaviours["time"] < as_of]
    return before.sort_values(["user_id", "time", "kind", "content"], ignore_index=True)


def _day(time: NDArray[np.datetime64] | np.datetime64) -> NDArray[np.int64]:
    """Days since the epoch."""
    return time.astype("datetime64[D]").astype(np.int64)


def _vocabulary(past: pd.DataFrame, config: EbrConfig) -> Vocabulary:
    """The most frequent contents, searched queries and words (ties by text)."""
    contents = _most_frequent(past["content"], config.max_contents)
    queries = _most_frequent(past["content"][past["kind"] != "item_click"], config.max_queries)
    tokens = _most_frequent(past["content"].str.split().explode(), config.max_tokens)
    return Vocabulary(contents, queries, tokens)


def _most_frequent(texts: pd.Series, size: int) -> tuple[str, ...]:
    """The `size` most frequent texts, in order of text."""
    counts = Counter(texts)
    return tuple(sorted(sorted(counts, key=lambda text: (-counts[text], text))[:size]))


def _states(
    past: pd.DataFrame,
    users: pd.Index,
    day: NDArray[np.int64],
    until: NDArray[np.int64],
    vocabulary: Vocabulary,
    max_events: int,
) -> States:
    """State i: the last `max_events` behaviours of users[i] before until[i], seen on day[i].

    past: behaviours in order of user and time. day, until: (states,) days since the epoch.
    """
    event_day = _day(past["time"].to_numpy())
    code, coded_users = pd.factorize(past["user_id"])
    # One ascending key for (user, day): a user's days fit below the stride for 2,700 years.
    stride = 1_000_000
    key = code * stride + event_day
    user = coded_users.get_indexer(users) * stride  # negative for unknown users: an empty run at 0
    stop = np.searchsorted(key, user + until)
    start = np.maximum(np.searchsorted(key, user), stop - max_events)
    content = pd.Index(vocabulary.contents).get_indexer(pd.Index(past["content"])) + 1
    kind = pd.Index(KINDS).get_indexer(pd.Index(past["kind"]))
    return States(content, kind, event_day, start, stop, day)


def _pairs(
    past: pd.DataFrame, since: pd.Timestamp, vocabulary: Vocabulary, max_events: int
) -> tuple[States, NDArray[np.int64], NDArray[np.int64]]:
    """User states at the start of days with searches; state and query row of each search."""
    target = pd.Index(vocabulary.queries).get_indexer(pd.Index(past["content"])) + 1
    wanted = (past["kind"] == "search") & (past["time"] >= since) & (target > 0)
    searches = past.loc[wanted, ["user_id"]].assign(day=_day(past.loc[wanted, "time"].to_numpy()))
    state = searches.groupby(["user_id", "day"]).ngroup().to_numpy().astype(np.int64)
    seen = searches.drop_duplicates().sort_values(["user_id", "day"])
    day = seen["day"].to_numpy()
    states = _states(past, pd.Index(seen["user_id"]), day, day, vocabulary, max_events)
    return states, state, target[wanted.to_numpy()].astype(np.int64)


def _initial(
    vocabulary: Vocabulary, past: pd.DataFrame, config: EbrConfig, seed: int, parent: Ebr | None
) -> Params:
    """Fresh parameters, overwritten by those of `parent` wherever it knows the row.

    Training begins at a sensible recommender: a query starts at the embedding of the same text as
    content, so what a user did already scores higher, and its bias at the log of its frequency.
    """
    generator = torch.Generator().manual_seed(seed)
    d, h = config.dim, config.hidden
    params = {
        name: 0.1 * torch.randn(1 + len(getattr(vocabulary, part)), d, generator=generator)
        for name, part in _PARTS.items()
    }
    same = pd.Index(vocabulary.contents).get_indexer(pd.Index(vocabulary.queries)) + 1
    params["query"][1:][same > 0] = params["content"][same[same > 0]]
    frequency = past.loc[past["kind"] != "item_click", "content"].value_counts(normalize=True)
    log_frequency = np.log(frequency.reindex(list(vocabulary.queries)).to_numpy(dtype=np.float32))
    params |= {
        "bias": torch.cat([torch.zeros(1), torch.from_numpy(log_frequency)]),
        "gate": torch.ones(1 + len(KINDS) * len(BUCKETS), d),
        "hidden.weight": torch.randn(d, h, generator=generator) / d**0.5,
        "hidden.bias": torch.zeros(h),
        "out.weight": torch.zeros(h, d),
        "out.bias": torch.zeros(d),
    }
    params["gate"][0] = 0  # padding adds nothing, and learns nothing (`padding_idx`)
    if parent:
        _carry_over(params, vocabulary, parent)
    return {name: value.requires_grad_() for name, value in params.items()}


def _carry_over(params: Params, vocabulary: Vocabulary, parent: Ebr) -> None:
    """Overwrite, in place, what `parent` has learned already."""
    parts = _PARTS | {"bias": "queries"}
    for name, part in parts.items():
        texts = pd.Index(getattr(parent.vocabulary, part))
        old = texts.get_indexer(getattr(vocabulary, part)) + 1
        params[name][0] = parent.params[name][0]
        params[name][1:][old > 0] = parent.params[name][old[old > 0]]
    for name in params.keys() - parts.keys():
        params[name] = parent.params[name].clone()
