"""Tables in docs/tables that follow from the code: `python tests/tables.py` writes them anew, and
a test holds the committed ones to the code.

stages.md    of every stage: what it reads, which settings it may see
settings.md  of every setting: the stages whose results it changes; sampled by several values of it
             and on several days, which takes some ten seconds
"""

from collections.abc import Iterable, Iterator
from datetime import date, timedelta
from functools import cache, cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, SecretStr, TypeAdapter, ValidationError

from aigq_tasks.errors import AigqError
from aigq_tasks.messages import markdown
from aigq_tasks.pipeline.calendar import launch_day, stack_day
from aigq_tasks.pipeline.reads import Moment
from aigq_tasks.pipeline.runner import ask
from aigq_tasks.pipeline.stage import Stage
from aigq_tasks.releases.bootstrap import FIRST_ITEM_TEXTS, FIRST_RECALL, FIRST_STAGES
from aigq_tasks.settings import Settings
from aigq_tasks.stages.categories import CATEGORIES
from aigq_tasks.stages.click_model import CTR
from aigq_tasks.stages.day import DAY, Step, steps_of
from aigq_tasks.stages.item_model import ITEM_MODEL
from aigq_tasks.stages.item_texts import ITEM_TEXTS
from aigq_tasks.stages.land import LOGS
from aigq_tasks.stages.recall_sources import RECALL
from aigq_tasks.storage.canonical import leaves
from aigq_tasks.storage.ledger import Entry
from aigq_tasks.storage.manifests import Blob, Manifest

FOLDER = Path(__file__).parents[1] / "docs" / "tables"
KINDS = (
    *("ctr", "direct", "sft", "think", "recall", "u2q", "x2q"),
    *("item-texts", "item-model", "categories"),
)
AT_LAUNCH = (ITEM_MODEL, FIRST_ITEM_TEXTS, CATEGORIES, FIRST_RECALL)
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
        "`release X`: the model of kind X of the release that the day starts from (for "
        "`policy`: that its training starts from); `week ago`: the policy that was released a week "
        "before. `line of the X`: evaluations and policies of the week behind X. `logs: W`: "
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
        "and those that read it run again. The table names the stages that see it themselves, by "
        "larger and smaller values of the setting, on days of the launch, of the bootstrap and of "
        "the daily loop; stages in italics run at the bootstrap only.\n\n" + markdown(rows)
    )


def changed_by_setting() -> dict[str, list[str]]:
    """Dotted name of every leaf setting -> stages whose input digest another value changes on one
    of the sampled days."""
    # A shorter history than the default one: the same windows, in a quarter of the time.
    own, runs = Settings().model_copy(update={"history_days": 30}), sampled()
    before = [digest(stage, own, day) for _, stage, day in runs]
    found = {}
    for path, values in variations(own):
        changed: set[str] = set()
        for settings in values:
            for (name, stage, day), held in zip(runs, before, strict=True):
                if name not in changed and digest(stage, settings, day) != held:
                    changed.add(name)
        found[path] = [name for name in dict.fromkeys(run[0] for run in runs) if name in changed]
    return found


def sampled() -> list[tuple[str, Stage[Any], date]]:
    """(Stage, in italics where it is of the bootstrap; the stage; a day that it runs for), those of
    the bootstrap first: the eve of the launch and its first day, the last day of release 1, the
    bootstrap day; an ordinary day, one that renews AIGQ-Think, one long after."""
    own = Settings()
    launch, last = launch_day(own), own.bootstrap_day
    eve = launch - timedelta(days=1)
    first = [(f"*{one.name}*", one, eve if one in AT_LAUNCH else last) for one in FIRST_STAGES]
    daily = [last + timedelta(days=after) for after in (1, own.think.update_days, 14)]
    steps = [(step.name, step.stage, day) for step in DAY for day in daily if runs_on(step, day)]
    early = [
        (stage.name, stage, day)
        for stage in (LOGS, CTR, RECALL, ITEM_TEXTS)
        for day in (launch, stack_day(own), last)
    ]
    return first + steps + early


def runs_on(step: Step, day: date) -> bool:
    return step in steps_of(Settings(), day)


def digest(stage: Stage[Any], settings: Settings, day: date) -> str:
    """Of its inputs, all else being equal; why it cannot run, where it cannot."""
    try:
        return ask(stage, moment(settings, day)).manifest.input_digest
    except AigqError as error:
        return str(error)


def variations(model: BaseModel, path: str = "") -> Iterator[tuple[str, list[Any]]]:
    """(dotted name, the model with other values there) for every leaf."""
    for name, field in type(model).model_fields.items():
        value, own = getattr(model, name), f"{path}{name}"
        if isinstance(value, BaseModel):
            for inner, changed in variations(value, f"{own}."):
                yield inner, [model.model_copy(update={name: one}) for one in changed]
        else:
            kind = TypeAdapter(Annotated[field.annotation, *field.metadata, own])
            values = [one for one in others(value, field.annotation) if is_valid(kind, one)]
            yield own, [model.model_copy(update={name: one}) for one in values]


def is_valid(kind: TypeAdapter[Any], value: Any) -> bool:
    try:
        kind.validate_python(value)
    except ValidationError:
        return False
    return True


def others(value: Any, kind: Any) -> list[Any]:
    """Other values of the same kind: of a number and a day some that are less, some that are
    more. They may be out of bounds."""
    if get_origin(kind) is Literal:
        return [one for one in get_args(kind) if one != value]
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, (int, float)):
        half = value // 2 if isinstance(value, int) else value / 2
        return [one for one in (value + 1, value - 1, value * 2, half) if one != value]
    if isinstance(value, date):
        return [value + timedelta(days=days) for days in (1, -1, 7)]
    if isinstance(value, tuple):
        last = others(value[-1], type(value[-1])) if value else ["other"]
        return [(*value[:-1], one) for one in last]
    if isinstance(value, SecretStr):
        return [SecretStr("other")]
    return [Path("other") if isinstance(value, Path) else f"{value or ''}x"]


class Known(Manifest):
    """One whose digest is computed once: it is asked for thousands of times."""

    @cached_property
    def digest(self) -> str:  # type: ignore[override]
        return super().digest


@cache
def made(stage: str, of: date) -> Manifest:
    """A result named after its stage and day."""
    outputs = {f"{table}.parquet": Blob(f"{of} {table}", 1) for table in LOG_TABLES}
    return Known(stage=stage, day=of, outputs=outputs)


@cache
def released(kind: str) -> str:
    """The digest of a model that a release holds."""
    return made(f"release {kind}", date.min).digest


def moment(settings: Settings, day: date) -> Moment:
    """The day in a world where every stage has a result for every day, named after both."""
    by_digest = {released(kind): made(f"release {kind}", date.min) for kind in KINDS}
    scored = made("evaluate", day - timedelta(days=1))
    by_digest[scored.digest] = scored
    parent = None
    if day >= launch_day(settings):
        words = dict.fromkeys(("code", "config", "who", "why"), "")
        parent = Entry(
            number=1,
            day=day - timedelta(days=1),
            revision=1,
            parent=None,
            manifests={"evaluate": scored.digest},
            models={kind: released(kind) for kind in KINDS},
            verdict="accepted",
            **words,
        )

    def heads(stage: str, days: Iterable[date]) -> dict[date, Manifest]:
        return {one: made(stage, one) for one in days}

    known = (parent,) if parent else ()
    return Moment(day, settings, parent, settings.source(), heads, by_digest.__getitem__, known)


if __name__ == "__main__":
    main()
