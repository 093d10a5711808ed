"""MLflow's model registry: a version for every model that a stage made, tags, and aliases.

A version is made once per run, so once per manifest, from the stage's own files: nothing is
pickled. Its tag `manifest` is what ties it to the object store; everything else in the registry
is for people to read.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from aigq_tasks.storage.crash import crash_point
from aigq_tasks.tracking.rest import Json, call, create, tell

# Stages whose result is a model, and the registered model that each day's result is a version of.
REGISTERED_MODELS = {
    "ctr": "hintq-ctr",
    "sft": "aigq-direct",
    "policy": "aigq-direct",
    "think-sft": "aigq-think",
    "think-policy": "aigq-think",
}
# Registered model -> which of the models that a release serves it is.
SERVED_AS = {"hintq-ctr": "ctr", "aigq-direct": "direct", "aigq-think": "think"}
CHAMPION, CHALLENGER = "champion", "challenger"  # aliases
PAGE = 1000


@dataclass(frozen=True)
class Version:
    """A version of a registered model. tags: as MLflow shows them, so strings of anyone."""

    model: str
    number: int
    tags: Mapping[str, str]

    def __str__(self) -> str:
        return f"{self.model} version {self.number}"


@dataclass(frozen=True)
class RegisteredModel:
    """What MLflow holds on a model itself. aliases: name -> number of the version."""

    aliases: Mapping[str, int]
    tags: Mapping[str, str]


class Registry:
    """The registry of one MLflow server. Methods raise AigqError when MLflow fails."""

    def __init__(self, url: str) -> None:
        self.url = url

    def model(self, name: str) -> RegisteredModel | None:
        """The registered model; None before its first version."""
        found = call(self.url, "GET", "registered-models/get", params={"name": name})
        if found is None:
            return None
        model = found["registered_model"]
        aliases = {one["alias"]: int(one["version"]) for one in model.get("aliases", [])}
        return RegisteredModel(aliases, _tags(model))

    def versions(self, name: str) -> list[Version]:
        """All versions of a model, in order of number."""
        found: list[Version] = []
        query: Json = {"filter": f"name = '{name}'", "max_results": PAGE}
        while True:
            page = call(self.url, "GET", "model-versions/search", params=query) or {}
            for own in page.get("model_versions", []):
                found.append(Version(name, int(own["version"]), _tags(own)))
            if not page.get("next_page_token"):
                return sorted(found, key=lambda version: version.number)
            query["page_token"] = page["next_page_token"]

    def set_tag(self, version: Version, key: str, value: str) -> None:
        body = {"name": version.model, "version": str(version.number), "key": key, "value": value}
        call(self.url, "POST", "model-versions/set-tag", json=body)

    def set_model_tag(self, name: str, key: str, value: str) -> None:
        body = {"name": name, "key": key, "value": value}
        call(self.url, "POST", "registered-models/set-tag", json=body)

    def set_alias(self, version: Version, alias: str) -> None:
        """Point the alias at the version; it leaves the one that had it."""
        body = {"name": version.model, "alias": alias, "version": str(version.number)}
        call(self.url, "POST", "registered-models/alias", json=body)

    def delete_alias(self, name: str, alias: str) -> None:
        call(self.url, "DELETE", "registered-models/alias", json={"name": name, "alias": alias})


def register(
    url: str, run: str, stage: str, tags: Mapping[str, str], store: Callable[[], str]
) -> None:
    """Make the files of a stage in REGISTERED_MODELS a version of its model, once per run.

    store: puts them into the folder "model" of the run's artifacts; returns the address of those.
    """
    name = REGISTERED_MODELS[stage]
    create(url, "registered-models/create", {"name": name})
    crash_point("model")
    query = {"filter": f"name = '{name}' and run_id = '{run}'"}
    if (call(url, "GET", "model-versions/search", params=query) or {}).get("model_versions"):
        return
    source = f"{store()}/model"
    crash_point("model-files")
    pairs = [{"key": key, "value": value} for key, value in tags.items()]
    body = {"name": name, "source": source, "run_id": run, "tags": pairs}
    tell(url, "model-versions/create", body)
    crash_point("model-version")


def _tags(found: Json) -> dict[str, str]:
    return {tag["key"]: tag.get("value", "") for tag in found.get("tags", [])}
