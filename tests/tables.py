"""Tables in docs/tables that follow from the code: `python tests/tables.py` writes them anew, and
a test holds the committed ones to the code.

stages.md    of every stage: what it reads, which settings it may see
settings.md  of every setting: the stages whose results it changes
"""

from collections.abc import Iterable, Iterator
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, SecretStr

from aigq_tasks.messages import markdown
from aigq_tasks.pipeline.calendar import launch_day
from aigq_tasks.pipeline.reads import Moment
from aigq_tasks.pipeline.runner import ask
from aigq_tasks.pipeline.stage import Stage
from aigq_tasks.releases.bootstrap import FIRST_STAGES
from aigq_tasks.settings import Settings
from aigq_tasks.stages.day import DAY
from aigq_tasks.storage.canonical import leaves
from aigq_tasks.storage.ledger import Entry
from aigq_tasks.storage.manifests import Blob, Manifest

FOLDER = Path(__file__).parents[1] / "docs" / "tables"
KINDS = (
    *("ctr", "direct", "sft", "think", "recall", "u2q", "x2q"),
    *("item-texts", "item-model", "categories"),
)
LOG_TABLES = (
    *("users", "items", "searches", "item_clicks", "search_clicks", "late_clicks"),
    *("hint_impressions", "hint_rankings", "impression_features", "late_next_day"),
)
HEAD = "<!-- Made from the code by `python tests/tables.py`; a test holds it to the code. -->\n\n"


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, text in tables().items():
        (FOLDER / name).write_text(text)
        print(f"docs/tables/{name}")


def tables() -> dict[str, str]:
    """File name -> text."""
    return {"stages.md": stage_table(), "settings.md": setting_table()}


def stages() -> list[tuple[Stage[Any], date]]:
    """Every stage with a day that it runs for: those of the bootstrap, then those of a day that
    renews AIGQ-Think."""
    settings = Settings()
    last = settings.bootstrap_day
    renewed = last + timedelta(days=settings.think.update_days)
    return [(stage, last) for stage in FIRST_STAGES] + [(step.stage, renewed) for step in DAY]


def stage_table() -> str:
    rows = []
    for stage, day in stages():
        asked = ask(stage, moment(Settings(), day)).manifest
        rows.append(
            {
                "stage": f"`{stage.name}`",
                "reads": ", ".join(f"`{key}`" for key in asked.inputs),
                "settings that it may see": ", ".join(f"`{name}`" for name in leaves(asked.config))
                or "none",
                "equal inputs give equal bytes": "no: it measures time" if stage.timed else "yes",
            }
        )
    return (
        f"# Stages and what they are told\n\n{HEAD}"
        "`release X`: the model of kind X of the release that the day starts from. `logs: W`: "
        "tables of the log of a window of days. `truth`: what the source knows of the days, for "
        "reports and training logs. `base model`: the files that a training begins with. "
        "`teacher`: the language model that is asked. The first rows are of the bootstrap.\n\n"
        + markdown(rows)
    )


def setting_table() -> str:
    rows = [
        {"setting": f"`{path}`", "stages whose results it changes": ", ".join(names) or "none"}
        for path, names in changed_by_setting().items()
    ]
    return (
        f"# Settings and what they change\n\n{HEAD}"
        "A setting that changes a stage's result is part of its inputs: change it, and that stage "
        "and those that read it run again. The table names the stages that see it themselves; "
        "stages in italics run at the bootstrap only.\n\n" + markdown(rows)
    )


def changed_by_setting() -> dict[str, list[str]]:
    """Dotted name of every leaf setting -> stages whose input digest another value changes."""
    before = digests(Settings())
    found = {}
    for path, changed in variations(Settings()):
        after = digests(changed)
        names = [name for name in before if before[name] != after[name]]
        found[path] = list(dict.fromkeys(names))
    return found


def digests(settings: Settings) -> dict[str, str]:
    """Stage, in italics where it is of the bootstrap -> its input digest, all else being equal."""
    own = Settings()
    daily = own.bootstrap_day + timedelta(days=own.think.update_days)
    first = {
        f"*{stage.name}*": ask(stage, moment(settings, settings.bootstrap_day)).manifest
        for stage in FIRST_STAGES
    }
    day = {step.name: ask(step.stage, moment(settings, daily)).manifest for step in DAY}
    # The day of a bootstrap moves with its setting; what it reads and sees is what counts.
    return {name: _without_day(one) for name, one in (first | day).items()}


def _without_day(manifest: Manifest) -> str:
    return repr((manifest.inputs, manifest.config))


def variations(model: BaseModel, path: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted name, the model with another value there) for every leaf."""
    for name, field in type(model).model_fields.items():
        value, own = getattr(model, name), f"{path}{name}"
        if isinstance(value, BaseModel):
            for inner, changed in variations(value, f"{own}."):
                yield inner, model.model_copy(update={name: changed})
        else:
            yield own, model.model_copy(update={name: other(value, field.annotation)})


def other(value: Any, kind: Any) -> Any:
    """Another value of the same kind."""
    if get_origin(kind) is Literal:
        return next(one for one in get_args(kind) if one != value)
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value + 1
    if isinstance(value, date):
        return value + timedelta(days=1)
    if isinstance(value, tuple):
        return (*value[:-1], other(value[-1], type(value[-1]))) if value else ("other",)
    if isinstance(value, SecretStr):
        return SecretStr("other")
    return Path("other") if isinstance(value, Path) else f"{value or ''}x"


@cache
def made(stage: str, of: date) -> Manifest:
    """A result named after its stage and day."""
    outputs = {f"{table}.parquet": Blob(f"{of} {table}", 1) for table in LOG_TABLES}
    return Manifest(stage=stage, day=of, outputs=outputs)


@cache
def released(kind: str) -> str:
    """The digest of a model that a release holds."""
    return made(f"release {kind}", date.min).digest


def moment(settings: Settings, day: date) -> Moment:
    """The day in a world where every stage has a result for every day, named after both."""
    by_digest = {released(kind): made(f"release {kind}", date.min) for kind in KINDS}
    parent = None
    if day >= launch_day(settings):
        words = dict.fromkeys(("code", "config", "who", "why"), "")
        parent = Entry(
            number=1,
            day=day - timedelta(days=1),
            revision=1,
            parent=None,
            models={kind: released(kind) for kind in KINDS},
            verdict="accepted",
            **words,
        )

    def heads(stage: str, days: Iterable[date]) -> dict[date, Manifest]:
        return {one: made(stage, one) for one in days}

    return Moment(day, settings, parent, settings.source(), heads, by_digest.__getitem__)


if __name__ == "__main__":
    main()
