"""Settings and stores: what whoever stands at the edge starts from. A stage never sees it."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from aigq_tasks.errors import AigqError, ServiceAbsent
from aigq_tasks.pipeline.reads import Moment
from aigq_tasks.settings import Settings
from aigq_tasks.sources.base import Source
from aigq_tasks.storage.canonical import to_json
from aigq_tasks.storage.ledger import Ledger
from aigq_tasks.storage.manifests import Manifests
from aigq_tasks.storage.objects import ObjectStore, sha256

OLD_VERSIONS = ("0.1.0", "0.2.0")  # whose results cannot be gone on from
_PACKAGES = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Context:
    """Settings, the object store, the two records kept in it, and the source of the log."""

    settings: Settings
    store: ObjectStore
    manifests: Manifests
    ledger: Ledger
    source: Source

    @classmethod
    def open(cls, settings: Settings) -> "Context":
        """The context of these settings. Talks to no service yet."""
        s3 = settings.s3
        store = ObjectStore(s3.url, s3.bucket, s3.access_key, s3.secret_key.get_secret_value())
        return cls(settings, store, Manifests(store), Ledger(store), settings.source())

    def moment(self, day: date) -> Moment:
        """The day as its stages' reads see it now."""
        parent = self.ledger.parent_of(day)
        heads, manifest = self.manifests.heads, self.manifests.get
        known = (*self.ledger.entries(), *self.ledger.shelf())
        return Moment(day, self.settings, parent, self.source, heads, manifest, known)

    def changed(self, change: Callable[[Settings], Settings]) -> "Context":
        """The same with other settings."""
        return replace(self, settings=change(self.settings))

    def require_own_format(self) -> None:
        """AigqError in one line when what is released was made by a version that stored days
        otherwise: under another stage and with other tables."""
        current = self.ledger.current()
        for digest in current.manifests.values() if current else ():
            try:
                version = self.manifests.get(digest).version
            except ServiceAbsent:
                raise
            except AigqError:  # gone or damaged: who needs it will say so
                continue
            if version in OLD_VERSIONS:
                raise AigqError(
                    f"what bucket '{self.store.bucket}' at {self.store.url} holds was made by aigq "
                    f"{version}, which stores days otherwise: start over with 'make clean', or "
                    "name another bucket (AIGQ_S3__BUCKET)"
                )
            return  # one manifest tells: a release is made by one version

    def code_digest(self) -> str:
        """SHA-256 (hex) over the source of both packages: which code made a release."""
        digest = hashlib.sha256()
        for root in (_PACKAGES / "aigq_tasks", _PACKAGES / "ctr_model"):
            for path in sorted(root.rglob("*.py")):
                digest.update(f"{path.relative_to(_PACKAGES).as_posix()}\n".encode())
                digest.update(path.read_bytes())
        return digest.hexdigest()

    def config_digest(self) -> str:
        """SHA-256 (hex) over the settings that are not about where something runs."""
        names = ("state_dir", "s3", "valkey", "mlflow", "airflow", "webhook", "engine", "alerts")
        places = dict.fromkeys(names, True)
        exclude: Any = {**places, "teacher": {"url", "key"}}
        return sha256(to_json(self.settings.model_dump(mode="json", exclude=exclude)))
