"""A line of results of its own that goes off from a bucket's at a day.

What lies before that day is the bucket's, read where it is; whatever is made on the branch lies
under a prefix, so nobody else ever sees it; objects are content and shared. To stages, manifests
and ledger a branch is a store like any other: a day on it is run by the same code.
"""

import json
from datetime import date

from aigq_tasks.errors import AigqError
from aigq_tasks.storage.canonical import to_json
from aigq_tasks.storage.ledger import FOLDER, SHELF
from aigq_tasks.storage.objects import Keys, ObjectStore

BRANCHES = "branches/"
_ORIGIN = "origin.json"
_OBJECTS, _MANIFESTS = "objects/", "manifests/"


def branch_names(trunk: ObjectStore) -> list[str]:
    """The branches of a store, in order of name."""
    keys = trunk.list(BRANCHES)
    return [
        key.removeprefix(BRANCHES).removesuffix(f"/{_ORIGIN}")
        for key in keys
        if key.endswith(f"/{_ORIGIN}")
    ]


class Branch(ObjectStore):
    """A branch of a store.

    first: its first day: of the trunk it sees the manifests of earlier days. last_entry: of the
    trunk's ledger it sees the entries up to this number, and nothing of its shelf.
    """

    def __init__(self, trunk: ObjectStore, name: str, first: date, last_entry: int) -> None:
        self._trunk = trunk
        self.url, self.bucket = trunk.url, trunk.bucket
        self.prefix = f"{BRANCHES}{name}/"
        self.first, self.last_entry = first, last_entry

    @classmethod
    def begin(cls, trunk: ObjectStore, name: str, first: date, last_entry: int) -> "Branch":
        """A branch that goes off now, or the one of that name, wherever it went off. AigqError when
        that was on another day."""
        origin = to_json({"first": first.isoformat(), "last_entry": last_entry})
        trunk.put_once(f"{BRANCHES}{name}/{_ORIGIN}", origin)
        branch = cls.open(trunk, name)
        if branch.first != first:
            raise AigqError(
                f"branch {name} begins on {branch.first}, not {first}: go on with it from that "
                "day, or give the new one another seed"
            )
        return branch

    @classmethod
    def open(cls, trunk: ObjectStore, name: str) -> "Branch":
        """The branch of that name; AigqError when there is none."""
        stored = trunk.get(f"{BRANCHES}{name}/{_ORIGIN}")
        if stored is None:
            raise AigqError(f"there is no branch {name} in bucket '{trunk.bucket}'")
        origin = json.loads(stored)
        return cls(trunk, name, date.fromisoformat(origin["first"]), origin["last_entry"])

    def own_keys(self, prefix: str) -> Keys:
        """The keys of the branch alone, as it calls them, sorted."""
        return [key.removeprefix(self.prefix) for key in self._trunk.list(self._own(prefix))]

    def put_once(self, key: str, data: bytes) -> bool:
        """As the store's; a key that the trunk holds is taken."""
        if self._inherits(key) and self._trunk.has(key):
            return False
        return self._trunk.put_once(self._own(key), data)

    def get(self, key: str) -> bytes | None:
        """As the store's."""
        own = self._trunk.get(self._own(key))
        return self._trunk.get(key) if own is None and self._inherits(key) else own

    def has(self, key: str) -> bool:
        """As the store's."""
        return self._trunk.has(self._own(key)) or (self._inherits(key) and self._trunk.has(key))

    def list(self, prefix: str) -> Keys:
        """As the store's, of both."""
        inherited = filter(self._inherits, self._trunk.list(prefix))
        return sorted({*self.own_keys(prefix), *inherited})

    def age_hours(self, key: str) -> float:
        """As the store's, of a key of the branch's own."""
        return self._trunk.age_hours(self._own(key))

    def ping(self) -> None:
        """As the store's."""
        self._trunk.ping()

    def delete(self, key: str) -> None:
        """ValueError: a branch only grows."""
        raise ValueError(f"{key} is part of a branch: nothing is deleted there")

    def _own(self, key: str) -> str:
        """Where the branch keeps what it calls `key`."""
        return key if key.startswith(_OBJECTS) else self.prefix + key

    def _inherits(self, key: str) -> bool:
        """Whether the trunk's own is the branch's too."""
        if key.startswith(_MANIFESTS):
            return key.split("/")[2] < self.first.isoformat()
        if key.startswith(FOLDER):
            return int(key.removeprefix(FOLDER).removesuffix(".json")) <= self.last_entry
        return key.startswith(_OBJECTS) or not key.startswith(SHELF)
