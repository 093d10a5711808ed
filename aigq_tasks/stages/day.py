"""The one table of the day: which stages there are, in an order in which they can run.

What waits for what follows from what the stages read. Plan, publish, the command line, the table
in the docs and the test of the Dag follow from here. Loading this module loads no stage: each is
imported when it is asked for.
"""

from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import date

    from aigq_tasks.pipeline.reads import Moment
    from aigq_tasks.pipeline.stage import Stage
    from aigq_tasks.settings import Settings


@dataclass(frozen=True)
class Step:
    """A stage of the day. where: "<module>:<constant>". summary: what it does, in one line. think:
    it runs only on the days that renew AIGQ-Think."""

    name: str
    where: str
    summary: str
    think: bool = False

    @cached_property
    def stage(self) -> "Stage[Any]":
        module, _, constant = self.where.partition(":")
        found: Stage[Any] = getattr(import_module(f"aigq_tasks.stages.{module}"), constant)
        return found


DAY = (
    Step("logs", "land:LOGS", "Land the event log of a day, its requests served by what was live."),
    Step(
        "ctr",
        "click_model:CTR",
        "Retrain the click model on a trailing window; judge its predecessor on the day.",
    ),
    Step(
        "recall",
        "recall_sources:RECALL",
        "Rebuild popularity, co-click, own-history and the two-tower model.",
    ),
    Step(
        "samples",
        "direct_samples:SAMPLES",
        "Turn the day's click sessions into prompts with ordered query lists.",
    ),
    Step(
        "think-samples",
        "think_samples:THINK_SAMPLES",
        "On the days that renew AIGQ-Think: the day's users as reasoned targets.",
        think=True,
    ),
    Step(
        "policy",
        "update:POLICY",
        "Continue IL-GRPO from the parent's policy against the day's click model.",
    ),
    Step(
        "think-policy",
        "update:THINK_POLICY",
        "On the days that renew AIGQ-Think: continue its IL-GRPO from the parent's policy.",
        think=True,
    ),
    Step(
        "rivals",
        "evaluate:RIVALS",
        "Score champion, IL-SFT, AIGQ-Think and the classic sources on held-out users.",
    ),
    Step(
        "evaluate",
        "evaluate:EVALUATE",
        "Score the day's challengers on held-out users, beside their rivals.",
    ),
    Step("gate", "gate:GATE", "Accept or reject the challenger, with reasons."),
    Step("u2q", "u2q:U2Q", "Refresh the user→query lists with the accepted policy."),
    Step(
        "x2q",
        "x2q:X2Q",
        "Let AIGQ-Think reason over the day's users and rebuild the trigger→query index.",
    ),
    Step(
        "item-texts",
        "item_texts:ITEM_TEXTS",
        "Write what shoppers call the items that are new in the log.",
    ),
    Step(
        "servable",
        "servable:SERVABLE",
        "Try the day's release on a few users, its models loaded anew: can it be served?",
    ),
)


def find(name: str) -> Step:
    """The step of that name; KeyError when there is none."""
    return {step.name: step for step in DAY}[name]


def steps_of(settings: "Settings", day: "date") -> list[Step]:
    """The steps that run for the day: AIGQ-Think is not renewed on every one."""
    from aigq_tasks.pipeline.calendar import think_is_due

    due = think_is_due(settings, day)
    return [step for step in DAY if due or not step.think]


def after(step: Step, moment: "Moment") -> tuple[str, ...]:
    """The steps whose result of the moment's day this one reads, in the table's order."""
    read = {
        name for own in step.stage.reads for name, day in own.upstream(moment) if day == moment.day
    }
    return tuple(other.name for other in DAY if other.name in read)
