"""One arm of a study or an ablation: the seed of its training, its lists, their scores."""

from collections.abc import Callable
from datetime import date
from typing import TYPE_CHECKING

from aigq_tasks.context.interests import ThinkLimits
from aigq_tasks.context.prompt import Shopper, plain_text
from aigq_tasks.evaluation.arms import Case, Lists
from aigq_tasks.evaluation.variety import distinct_queries
from aigq_tasks.pipeline.given import Given
from aigq_tasks.pipeline.stage import Output
from aigq_tasks.serving.lists import Writing, generate, generate_reasoned, writing
from aigq_tasks.stages.evaluate import (
    INTERLEAVED,
    WITHOUT_AIGQ,
    Asking,
    ClassicSlice,
    arm_scores,
    classic_lists,
    held_out_case,
)

if TYPE_CHECKING:
    from aigq_tasks.settings import Settings


# What stands in every table: what a person would try in an hour, and the stack as it was.
RULES = (INTERLEAVED, WITHOUT_AIGQ, "own_history", "popularity")


class ArmSlice(Asking):
    """arm: what the scores call it. limits: of what AIGQ-Think may write; None: AIGQ-Direct
    writes. plain: it is told of a shopper in plain text. constrained: AIGQ-Think's decoding is."""

    arm: str
    list_length: int
    limits: ThinkLimits | None
    writing: Writing
    plain: bool = False
    constrained: bool = True


def compute_arm(given: Given, settings: ArmSlice, day: date) -> Output:
    """Per-user scores of what the read "policy" writes for the day's held-out users."""
    case, policy = held_out_case(given, settings, day), given.result("policy")
    shoppers, limits, how = case.shoppers, settings.limits, settings.writing
    told = _told(Shopper.think_prompt if limits else Shopper.prompt, settings.plain)
    if limits:
        made = generate_reasoned(policy, shoppers, limits, how, told, settings.constrained)
    else:
        made = generate(policy, shoppers, settings.list_length, how, told)
    return _scored(given, case, {settings.arm: made.lists}, {settings.arm: made.valid})


def compute_rules(given: Given, settings: ClassicSlice, day: date) -> Output:
    """The same of what needs no language model."""
    case = held_out_case(given, settings, day)
    lists = classic_lists(given, settings, case)
    return _scored(given, case, {arm: lists[arm] for arm in RULES}, {})


def _scored(
    given: Given, case: Case, lists: dict[str, Lists], valid: dict[str, dict[str, bool]]
) -> Output:
    return Output(
        tables={
            "scores": arm_scores(given, case, lists, valid),
            "variety": distinct_queries(lists, case.users),
        }
    )


def _told(prompt: Callable[[Shopper], str], plain: bool) -> Callable[[Shopper], str]:
    """How a policy is told of a shopper."""
    return (lambda shopper: plain_text(prompt(shopper))) if plain else prompt


def arm_settings(settings: "Settings", arm: str, think: bool = False) -> ArmSlice:
    return ArmSlice(
        seed=settings.seed,
        holdout=settings.samples.holdout,
        history_lines=settings.samples.history_lines,
        arm=arm,
        list_length=settings.generation.list_length,
        limits=settings.think.limits if think else None,
        writing=writing(settings),
    )


def seeded(settings: "Settings", seed: int) -> "Settings":
    """The same with another seed of the trainings."""
    policy = settings.policy.model_copy(update={"seed": seed})
    return settings.model_copy(update={"policy": policy})


def stage_name(work: str, kind: str, arm: str, seed: int) -> str:
    """What a stage of an arm is called: "study-policy-il-grpo-17"."""
    return f"{work}-{kind}-{arm.replace(', ', '-').replace(' ', '-')}-{seed}"
