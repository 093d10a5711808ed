"""u2q and x2q in Valkey: an index is complete or not there at all, and old versions expire.

An index is a space ("u2q", "x2q"): key -> JSON text per version, at `<space>:<version>:<key>`,
and at last a marker with the number of keys at `<space>:<version>`. Readers see a version only by
that marker, so a load that was cut off shows nothing. A release names the versions that it serves
(`version_of`).
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd
from valkey import Valkey
from valkey.client import Pipeline
from valkey.exceptions import ValkeyError

from aigq_tasks.errors import AigqError
from aigq_tasks.storage.crash import crash_point

U2Q, X2Q = "u2q", "x2q"  # the spaces, named as the models of a release

_KEYS_AT_ONCE = 1000
_DAY_S = 86_400
_STAYS = -1  # what TTL says of a key without expiry

Scored = list[tuple[str, float]]  # (query, score), best first


@dataclass(frozen=True)
class CachedList:
    """What Valkey holds for one user."""

    day: str  # YYYY-MM-DD of the release that generated the list
    queries: Scored


def version_of(digest: str) -> str:
    """The version under which Valkey holds the index of a result (its manifest's digest)."""
    return digest[:16]


@contextmanager
def connect(url: str) -> Iterator[Valkey]:
    """A client that is known to be answered.

    Raises:
        AigqError: nobody answers at `url`, at first or later in the block.
    """
    try:
        with Valkey.from_url(url, socket_timeout=10, decode_responses=True) as client:
            client.ping()
            yield client
    except ValkeyError as error:
        raise AigqError(
            f"Valkey does not answer at {url} ({error}); start it with 'aigq up' and run the same "
            "command again"
        ) from error


def load_u2q(client: Valkey, version: str, entries: pd.DataFrame) -> int:
    """Make Valkey hold a version of the lists, one key per user.

    Nothing is written when the version is there to stay; one that is about to expire (a rollback
    brings it back) is written again.

    Args:
        client: of `connect`.
        entries: of `recall.u2q.build`.

    Returns:
        The number of keys written: 0 when the version was there.
    """
    lists: dict[str, CachedList] = {}
    columns = (entries[name] for name in ("user_id", "day", "query", "score"))
    for user, day, query, score in zip(*columns, strict=True):
        lists.setdefault(user, CachedList(day, [])).queries.append((query, score))
    values = {user: json.dumps(asdict(cached)) for user, cached in lists.items()}
    return _load(client, U2Q, version, values)


def load_x2q(client: Valkey, version: str, entries: pd.DataFrame) -> int:
    """Make Valkey hold a version of the index, one key per trigger; otherwise as `load_u2q`.

    Args:
        entries: of `recall.x2q.x2q_entries`.
    """
    lists: dict[str, Scored] = {}
    for trigger, query, score in zip(
        entries["trigger"], entries["query"], entries["score"], strict=True
    ):
        lists.setdefault(trigger, []).append((query, score))
    values = {trigger: json.dumps(queries) for trigger, queries in lists.items()}
    return _load(client, X2Q, version, values)


# space -> what loads a release's entries
LOADERS: Mapping[str, Callable[[Valkey, str, pd.DataFrame], int]] = {U2Q: load_u2q, X2Q: load_x2q}


def get_u2q(client: Valkey, version: str, user_id: str) -> CachedList | None:
    """The user's list in this version, or None if it has none; one round trip.

    Raises:
        AigqError: the version is not (or not completely, or no longer) in Valkey.
    """
    [value] = _get(client, U2Q, version, [user_id])
    if value is None:
        return None
    cached = json.loads(value)
    return CachedList(cached["day"], [(query, score) for query, score in cached["queries"]])


def lookup_x2q(client: Valkey, version: str, triggers: Sequence[str]) -> dict[str, Scored]:
    """trigger -> (query, score), best first; [] for a trigger that the index lacks. One round
    trip.

    Raises:
        AigqError: the version is not (or not completely, or no longer) in Valkey.
    """
    values = _get(client, X2Q, version, triggers)
    return {
        trigger: [(query, score) for query, score in json.loads(value)] if value else []
        for trigger, value in zip(triggers, values, strict=True)
    }


def retire_others(client: Valkey, space: str, version: str, ttl_days: float) -> None:
    """Let every other complete version of the space expire in `ttl_days`: until then they serve
    requests under way and quick rollbacks.

    Args:
        client: of `connect`.
    """
    versions: Any = client.smembers(space)
    for other in sorted(set(versions) - {version}):
        _retire(client, space, other, int(ttl_days * _DAY_S))


def _load(client: Valkey, space: str, version: str, values: Mapping[str, str]) -> int:
    if client.ttl(_marker(space, version)) == _STAYS:
        return 0
    client.sadd(space, version)  # the versions that Valkey holds, complete or not
    keys = list(values)
    for start in range(0, len(keys), _KEYS_AT_ONCE):
        with client.pipeline(transaction=False) as pipe:
            for key in keys[start : start + _KEYS_AT_ONCE]:
                pipe.set(_key(space, version, key), values[key])
            _execute(pipe)
        crash_point(f"{space}-half")
    client.set(_marker(space, version), len(keys))
    return len(keys)


def _get(client: Valkey, space: str, version: str, keys: Sequence[str]) -> list[str | None]:
    """The values of the keys in this version, None for those it lacks."""
    if not keys:
        return []
    with client.pipeline(transaction=False) as pipe:
        pipe.get(_marker(space, version))
        pipe.mget([_key(space, version, key) for key in keys])
        complete, values = _execute(pipe)
    if complete is None:
        raise AigqError(f"{space} {version} is not loaded in Valkey; publish that release again")
    return list(values)


def _retire(client: Valkey, space: str, version: str, ttl_s: int) -> None:
    """Let a complete version expire. One without marker may be loading right now: it is left."""
    if not client.exists(_marker(space, version)):
        return
    # The marker goes first: it must not outlive the lists it vouches for. NX: a retirement that
    # was cut off goes on where it was, and never postpones an expiry.
    client.expire(_marker(space, version), ttl_s, nx=True)
    crash_point(f"{space}-retire")
    with client.pipeline(transaction=False) as pipe:
        for key in client.scan_iter(match=_key(space, version, "*"), count=_KEYS_AT_ONCE):
            pipe.expire(key, ttl_s, nx=True)
        _execute(pipe)
    client.srem(space, version)


def _execute(pipe: Pipeline) -> list[Any]:
    replies: list[Any] = pipe.execute()  # type: ignore[no-untyped-call]
    return replies


def _marker(space: str, version: str) -> str:
    return f"{space}:{version}"


def _key(space: str, version: str, key: str) -> str:
    return f"{space}:{version}:{key}"
