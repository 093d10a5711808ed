"""What every stage is given: settings, and the stored results of the stages before it."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from aigq_tasks.settings import Settings
from aigq_tasks.storage.canonical import to_json
from aigq_tasks.storage.ledger import Ledger
from aigq_tasks.storage.manifests import Manifests
from aigq_tasks.storage.objects import ObjectStore, sha256

_PACKAGES = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Context:
    """Settings, the object store, and the two records kept in it."""

    settings: Settings
    store: ObjectStore
    manifests: Manifests
    ledger: Ledger

    @classmethod
    def open(cls, settings: Settings) -> "Context":
        """The context of these settings. Talks to no service yet."""
        s3 = settings.s3
        store = ObjectStore(s3.url, s3.bucket, s3.access_key, s3.secret_key.get_secret_value())
        return cls(settings, store, Manifests(store), Ledger(store))

    def with_seed(self, seed: int) -> "Context":
        """The same with another seed of the trainings."""
        policy = self.settings.policy.model_copy(update={"seed": seed})
        return replace(self, settings=self.settings.model_copy(update={"policy": policy}))

    def with_grpo(self, **changes: Any) -> "Context":
        """The same with other settings of IL-GRPO."""
        grpo = self.settings.policy.grpo.model_copy(update=changes)
        policy = self.settings.policy.model_copy(update={"grpo": grpo})
        return replace(self, settings=self.settings.model_copy(update={"policy": policy}))

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
