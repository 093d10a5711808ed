"""What every stage is given: settings, and the stored results of the stages before it."""

from dataclasses import dataclass
from datetime import date

from aigq_tasks.errors import AigqError
from aigq_tasks.settings import Settings
from aigq_tasks.storage.ledger import Ledger
from aigq_tasks.storage.manifests import Manifest, Manifests
from aigq_tasks.storage.objects import ObjectStore


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

    def manifest(self, stage: str, day: date) -> Manifest:
        """The head manifest of a stage's day; AigqError when the stage has not run."""
        manifest = self.manifests.head(stage, day)
        if manifest is None:
            raise AigqError(f"{stage} has no result for {day}: run 'aigq {stage} --day {day}'")
        return manifest

    def read(self, stage: str, day: date, name: str) -> bytes:
        """File `name` of the head manifest of a stage's day; AigqError when there is none."""
        outputs = self.manifest(stage, day).outputs
        if name not in outputs:
            raise AigqError(
                f"{stage} of {day} has no file '{name}', only {', '.join(sorted(outputs))}"
            )
        return self.store.get_blob(outputs[name].digest)
