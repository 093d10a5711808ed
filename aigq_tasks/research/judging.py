"""One arm of a study or an ablation: the seed of its training, its lists, their scores."""

from collections.abc import Callable
from datetime import date
from typing import TYPE_CHECKING

from aigq_tasks.context.interests import ThinkLimits
from aigq_tasks.context.prompt import Shopper
from aigq_tasks.pipeline.given import Given
from aigq_tasks.pipeline.stage import Output
from aigq_tasks.serving.lists import Writing, generate, generate_reasoned, writing
from aigq_tasks.stages.evaluate import Asking, arm_scores, held_out_case

if TYPE_CHECKING:
    from aigq_tasks.settings import Settings


class ArmSlice(Asking):
    """arm: what the scores call it. limits: of what AIGQ-Think may write; None: AIGQ-Direct
    writes."""

    arm: str
    list_length: int
    limits: ThinkLimits | None
    writing: Writing


def compute_arm(
    given: Given,
    settings: ArmSlice,
    day: date,
    prompt: Callable[[Shopper], str] = Shopper.prompt,
    constrained: bool = True,
) -> Output:
    """Per-user scores of what the read "policy" writes for the day's held-out users. prompt: how
    it is told of a shopper. constrained: whether AIGQ-Think's decoding is."""
    case, policy = held_out_case(given, settings, day), given.result("policy")
    if settings.limits:
        made = generate_reasoned(
            policy, case.shoppers, settings.limits, settings.writing, prompt, constrained
        )
    else:
        made = generate(policy, case.shoppers, settings.list_length, settings.writing, prompt)
    lists, valid = {settings.arm: made.lists}, {settings.arm: made.valid}
    return Output(tables={"scores": arm_scores(given, case, lists, valid)})


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
