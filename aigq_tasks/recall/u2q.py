"""u2q: the queries that a release generated for each user, and their place in Valkey.

Entries are a table: user_id, rank (1..), query, score, day; sorted by user and rank. `day`
(YYYY-MM-DD) is that of the release that generated the user's list: a list is carried over from
release to release until the user is refreshed.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any, ClassVar, Self

import pandas as pd
from valkey import Valkey
from valkey.client import Pipeline
from valkey.exceptions import ValkeyError

from aigq_tasks.context.queries import normalize
from aigq_tasks.errors import AigqError
from aigq_tasks.storage.tables import from_parquet, to_parquet

FILE = "u2q.parquet"
_VERSIONS = "u2q"  # the set of versions that Valkey holds, complete or not
_KEYS_AT_ONCE = 1000
_DAY_S = 86_400
_STAYS = -1  # what TTL says of a key without expiry


@dataclass(frozen=True)
class U2qSource:
    """Recall from the entries of a release."""

    name: ClassVar[str] = "u2q"
    entries: pd.DataFrame

    def recall(
        self, user_ids: Sequence[str], history: pd.DataFrame, as_of: pd.Timestamp, k: int
    ) -> dict[str, list[tuple[str, float]]]:
        """The first k queries of each user's list; history and as_of are not read."""
        recalled: dict[str, list[tuple[str, float]]] = {user: [] for user in user_ids}
        wanted = self.entries["user_id"].isin(list(user_ids)) & (self.entries["rank"] <= k)
        best = self.entries[wanted]
        for user, query, score in zip(best["user_id"], best["query"], best["score"], strict=True):
            recalled[user].append((query, score))
        return recalled

    def to_files(self) -> dict[str, bytes]:
        """{file name: bytes}; equal entries give equal bytes."""
        return {FILE: to_parquet(self.entries)}

    @classmethod
    def from_files(cls, files: dict[str, bytes]) -> Self:
        return cls(from_parquet(files[FILE]))


@dataclass(frozen=True)
class Cached:
    """What Valkey holds for one user."""

    day: str  # YYYY-MM-DD of the release that generated the list
    queries: list[tuple[str, float]]  # (query, score), best first


def build(lists: Mapping[str, Sequence[str]], day: date) -> pd.DataFrame:
    """Entries from the lists that a policy wrote for users, best query first.

    Queries are normalised; empty ones and repetitions are dropped, and a user with nothing left has
    no entry. A policy orders but does not score: score = 1 / rank.
    """
    rows = []
    for user in sorted(lists):
        queries = dict.fromkeys(query for text in lists[user] if (query := normalize(text)))
        rows += [
            (user, rank, query, 1 / rank, day.isoformat()) for rank, query in enumerate(queries, 1)
        ]
    return pd.DataFrame(rows, columns=["user_id", "rank", "query", "score", "day"]).astype(
        {"user_id": "str", "rank": "int64", "query": "str", "score": "float64", "day": "str"}
    )


def merge(parent: pd.DataFrame, fresh: pd.DataFrame) -> pd.DataFrame:
    """The parent release's entries with those of refreshed users replaced.

    Users who are not in `fresh` keep their list and its day.
    """
    kept = parent[~parent["user_id"].isin(fresh["user_id"])]
    return pd.concat([kept, fresh]).sort_values(["user_id", "rank"], ignore_index=True)


def connect(url: str) -> Valkey:
    """A client that is known to be answered; use it in a `with`.

    Raises:
        AigqError: nobody answers at `url`.
    """
    client = Valkey.from_url(url, socket_timeout=10, decode_responses=True)
    try:
        client.ping()
    except ValkeyError as error:
        raise AigqError(f"Valkey does not answer at {url} ({error}); start it: aigq up") from error
    return client


def load(client: Valkey, version: str, entries: pd.DataFrame, ttl_days: float) -> int:
    """Make Valkey hold a version, and let the others expire.

    One JSON value for each user at `u2q:<version>:<user_id>`, and at last the number of users at
    `u2q:<version>`. Readers see a version only by that marker, so a load that was cut off shows
    nothing. Nothing is written when the version is there to stay; one that is about to expire (a
    rollback brings it back) is written again. Every other complete version is left `ttl_days`
    more, for requests under way and quick rollbacks.

    Args:
        client: of `connect`.

    Returns:
        The number of users written: 0 when the version was there.
    """
    written = 0
    if client.ttl(_marker(version)) != _STAYS:
        written = _write(client, version, entries)
    versions: Any = client.smembers(_VERSIONS)
    for other in sorted(set(versions) - {version}):
        _retire(client, other, int(ttl_days * _DAY_S))
    return written


def get(client: Valkey, version: str, user_id: str) -> Cached | None:
    """The user's list in this version, or None if it has none; one round trip.

    Raises:
        AigqError: the version is not (or not completely, or no longer) in Valkey.
    """
    with client.pipeline(transaction=False) as pipe:
        pipe.get(_marker(version))
        pipe.get(_key(version, user_id))
        complete, value = _execute(pipe)
    if complete is None:
        raise AigqError(f"u2q {version} is not loaded in Valkey; publish that release again")
    if value is None:
        return None
    cached = json.loads(value)
    return Cached(cached["day"], [(query, score) for query, score in cached["queries"]])


def _write(client: Valkey, version: str, entries: pd.DataFrame) -> int:
    lists: dict[str, Cached] = {}
    columns = (entries[name] for name in ("user_id", "day", "query", "score"))
    for user, day, query, score in zip(*columns, strict=True):
        lists.setdefault(user, Cached(day, [])).queries.append((query, score))
    client.sadd(_VERSIONS, version)
    users = list(lists)
    for start in range(0, len(users), _KEYS_AT_ONCE):
        with client.pipeline(transaction=False) as pipe:
            for user in users[start : start + _KEYS_AT_ONCE]:
                pipe.set(_key(version, user), json.dumps(asdict(lists[user])))
            _execute(pipe)
    client.set(_marker(version), len(users))
    return len(users)


def _retire(client: Valkey, version: str, ttl_s: int) -> None:
    """Let a complete version expire. One without marker may be loading right now: it is left."""
    if not client.exists(_marker(version)):
        return
    # The marker goes first: it must not outlive the lists it vouches for. NX: a retirement that
    # was cut off goes on where it was, and never postpones an expiry.
    client.expire(_marker(version), ttl_s, nx=True)
    with client.pipeline(transaction=False) as pipe:
        for key in client.scan_iter(match=_key(version, "*"), count=_KEYS_AT_ONCE):
            pipe.expire(key, ttl_s, nx=True)
        _execute(pipe)
    client.srem(_VERSIONS, version)


def _execute(pipe: Pipeline) -> list[Any]:
    replies: list[Any] = pipe.execute()  # type: ignore[no-untyped-call]
    return replies


def _marker(version: str) -> str:
    return f"u2q:{version}"


def _key(version: str, user_id: str) -> str:
    return f"u2q:{version}:{user_id}"
