"""The arms of an A/B test: what each serves, what it makes anew every day, and its chain of days.

An arm is data. It lives on a branch of the bucket that goes off from the release which served the
first day; on it the stages of the day run as they are, so its logs, models and releases follow
from what it showed itself. Only what decides nothing here (gate, evaluation) is left out.
"""

from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any, Literal

from aigq_tasks.errors import AigqError
from aigq_tasks.pipeline.context import Context
from aigq_tasks.pipeline.reading import live_entry
from aigq_tasks.pipeline.reads import Result
from aigq_tasks.pipeline.runner import run_stage
from aigq_tasks.pipeline.stage import Stage
from aigq_tasks.stages.click_model import CTR
from aigq_tasks.stages.direct_samples import SAMPLES
from aigq_tasks.stages.item_texts import ITEM_TEXTS
from aigq_tasks.stages.land import LOGS
from aigq_tasks.stages.recall_sources import RECALL
from aigq_tasks.stages.u2q import U2Q
from aigq_tasks.stages.update import POLICY
from aigq_tasks.stages.x2q import X2Q
from aigq_tasks.storage.branch import Branch
from aigq_tasks.storage.ledger import Entry, Ledger
from aigq_tasks.storage.manifests import Manifest, Manifests

LISTS = ("u2q", "x2q")  # kinds that language models write
WHO = "aigq ab"
Algorithm = Literal["il_grpo", "grpo"]


@dataclass(frozen=True)
class Arm:
    """about: in words. lists: which of LISTS it serves beside the classic sources. algorithm: by
    which AIGQ-Direct is updated every day, each update served the next day; None: the policy stays
    what it was on the first. draws: added to the seed by which hints are drawn."""

    name: str
    about: str
    lists: tuple[str, ...] = ()
    algorithm: Algorithm | None = None
    draws: int = 0


ARMS = {
    arm.name: arm
    for arm in (
        Arm("classic", "the classic sources alone"),
        Arm("classic-again", "the same, its hints drawn anew (A/A)", draws=1),
        Arm("u2q", "+ AIGQ-Direct's lists of the night, its policy frozen", ("u2q",)),
        Arm("x2q", "+ AIGQ-Think's index, its policy frozen", ("x2q",)),
        Arm("all", "+ both, frozen", LISTS),
        Arm("il-grpo", "+ both, AIGQ-Direct updated daily by IL-GRPO", LISTS, "il_grpo"),
        Arm("grpo", "+ both, AIGQ-Direct updated daily by GRPO", LISTS, "grpo"),
    )
}


def find_arm(name: str) -> Arm:
    """AigqError names those that there are."""
    if name not in ARMS:
        raise AigqError(f"no arm {name!r}: one of {', '.join(ARMS)}")
    return ARMS[name]


def stages_of(arm: Arm) -> list[Stage[Any]]:
    """What runs for each day of the arm once its log is landed, in an order in which it can."""
    made: list[Stage[Any]] = [ITEM_TEXTS, RECALL, CTR]
    u2q = U2Q.without("gate", "policy")
    if arm.algorithm:
        made += [_samples(), _policy(arm.algorithm)]
        u2q = u2q.reading(Result(POLICY.name, key="release direct"))
    writers: dict[str, Stage[Any]] = {"u2q": u2q, "x2q": X2Q}
    made += [writers[kind] for kind in arm.lists]
    return [_untracked(stage) for stage in made]


def _samples() -> Stage[Any]:
    """Nobody is held out: no gate judges."""
    return replace(
        SAMPLES, settings=lambda own: SAMPLES.settings(own).model_copy(update={"holdout": 0.0})
    )


def _policy(algorithm: Algorithm) -> Stage[Any]:
    return replace(
        POLICY,
        settings=lambda own: POLICY.settings(own).model_copy(
            update={"grpo": own.policy.grpo.model_copy(update={"algorithm": algorithm})}
        ),
    )


def _logs(arm: Arm, seed: int) -> Stage[Any]:
    """The day's log, hints drawn by the test's seed: equal for all arms but an A/A's second."""
    return _untracked(
        replace(
            LOGS,
            settings=lambda own: LOGS.settings(own).model_copy(update={"seed": seed + arm.draws}),
        )
    )


def _untracked(stage: Stage[Any]) -> Stage[Any]:
    return replace(stage, needs=("s3",))


def branch_of(ctx: Context, arm: Arm, first: date, seed: int) -> Context:
    """The context of the arm's branch, which begins with a release: that which served `first`,
    without the LISTS that the arm does not serve. AigqError when nothing served that day."""
    start = live_entry(ctx, first)
    if start.number < 1:
        raise AigqError(f"{first} starts from a shelved release: begin with a day that was served")
    branch = Branch.begin(ctx.store, f"ab/{arm.name}-{seed}", first, start.number)
    own = replace(ctx, store=branch, manifests=Manifests(branch), ledger=Ledger(branch))
    head = own.ledger.current()
    if head is not None and head.number == branch.last_entry:
        models = {
            kind: digest
            for kind, digest in head.models.items()
            if kind not in LISTS or kind in arm.lists
        }
        day = first - timedelta(days=1)
        own.ledger.append(_entry(own, day, head, models, arm))
    return own


def land_day(ctx: Context, arm: Arm, day: date, seed: int) -> Manifest:
    """The arm's log of the day, under its own release. ctx: of `branch_of`."""
    return run_stage(_logs(arm, seed), ctx, day)


def renew(ctx: Context, arm: Arm, day: date) -> None:
    """All that the arm makes of the day, and the release that serves the next one. AigqError when
    that day was released of other inputs: settings changed since the test began."""
    parent = live_entry(ctx, day)
    made = {stage.name: run_stage(stage, ctx, day).digest for stage in stages_of(arm)}
    kinds = {"direct" if name == POLICY.name else name: own for name, own in made.items()}
    kinds.pop(SAMPLES.name, None)
    entry = _entry(ctx, day, parent, parent.models | kinds, arm)
    entry = replace(entry, manifests=dict(sorted(made.items())))
    known = next((own for own in ctx.ledger.entries() if own.day == day), None)
    if known is None:
        ctx.ledger.append(entry)
    elif not known.same_release(entry):
        raise AigqError(
            f"arm {arm.name} released {day} under other settings: bring them back, or begin anew "
            "with another --seed"
        )


def _entry(ctx: Context, day: date, parent: Entry, models: dict[str, str], arm: Arm) -> Entry:
    return Entry(
        day=day,
        revision=1,
        parent=parent.number,
        models=models,
        verdict="accepted",
        code=ctx.code_digest(),
        config=ctx.config_digest(),
        who=WHO,
        why=f"arm {arm.name}: {arm.about}",
    )
