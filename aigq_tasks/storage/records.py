"""Records that are read by name, not by digest: manifests and ledger entries.

A blob is checked against the digest that it is asked for by. A name says nothing about the bytes
under it, so the bytes of a record are stored as a blob first, and its name is part of what it
holds. A reader takes a record only when both agree: bytes that nobody stored, and a record that
belongs under another name, are found before they are used.
"""

from collections.abc import Callable
from typing import TypeVar

from aigq_tasks.errors import AigqError
from aigq_tasks.storage.objects import ObjectStore, blob_key, sha256

T = TypeVar("T")


def read_record(
    store: ObjectStore,
    key: str,
    parse: Callable[[bytes], T],
    name: Callable[[T], str],
    remedy: str,
) -> T:
    """The record under `key`; `name` gives the key that a record belongs under.

    AigqError with the remedy when there is none, when its bytes are not those of a stored blob,
    or when they are a record of another name or none at all.
    """
    where = f"{key} in bucket '{store.bucket}' at {store.url}"
    data = store.get(key)
    if data is None:
        raise AigqError(f"{where} cannot be read: {remedy}")
    if not store.has(blob_key(sha256(data))):
        raise AigqError(f"{where} is damaged: no such bytes were ever stored; {remedy}")
    try:
        record = parse(data)
    except (ValueError, LookupError, TypeError, AttributeError, AigqError) as error:
        raise AigqError(f"{where} is damaged: it holds something else; {remedy}") from error
    if name(record) != key:
        raise AigqError(f"{where} is damaged: it holds what belongs to {name(record)}; {remedy}")
    return record
