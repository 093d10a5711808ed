"""From a stored policy to queries that may be shown: generation, filters."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aigq_tasks.context.interests import ThinkLimits
from aigq_tasks.context.prompt import Shopper
from aigq_tasks.context.queries import is_allowed
from aigq_tasks.pipeline.given import Stored
from aigq_tasks.pipeline.stage import Slice

if TYPE_CHECKING:
    from aigq_tasks.policy.think import ParsedThink
    from aigq_tasks.settings import Settings


class Writing(Slice):
    """The settings that change what a stored policy writes for a prompt."""

    threads: int
    batch_size: int


def writing(settings: "Settings") -> Writing:
    return Writing(threads=settings.threads, batch_size=settings.generation.batch_size)


@dataclass(frozen=True)
class Generated:
    """lists: user -> queries that may be shown, best first. valid: user -> whether the policy
    wrote a well-formed list of the wanted length. blocked: queries that the filters dropped."""

    lists: dict[str, list[str]]
    valid: dict[str, bool]
    blocked: int


def generate(
    policy: Stored,
    shoppers: Sequence[Shopper],
    length: int,
    how: Writing,
    prompt: Callable[[Shopper], str] = Shopper.prompt,
) -> Generated:
    """Greedy lists of a stored AIGQ-Direct policy, filtered: normal form, unique, allowed."""
    from aigq_tasks.policy.generate import generate_lists

    parsed = generate_lists(
        *_load(policy, how),
        [prompt(shopper) for shopper in shoppers],
        length,
        batch_size=how.batch_size,
        progress=True,
    )
    pairs = zip(shoppers, parsed, strict=True)
    return _filtered((shopper, written.queries, written.valid) for shopper, written in pairs)


def reason(
    policy: Stored,
    shoppers: Sequence[Shopper],
    limits: ThinkLimits,
    how: Writing,
    prompt: Callable[[Shopper], str] = Shopper.think_prompt,
    constrained: bool = True,
) -> "list[tuple[Shopper, ParsedThink]]":
    """What a stored AIGQ-Think policy writes for each shopper, constrained to the layout or not.
    One without any history is left out: there is nothing to reason from."""
    from aigq_tasks.policy.think_generate import generate_think

    known = [shopper for shopper in shoppers if shopper.lines]
    written = generate_think(
        *_load(policy, how),
        [prompt(shopper) for shopper in known],
        [len(shopper.lines) for shopper in known],
        limits,
        how.batch_size,
        constrained=constrained,
        progress=True,
    )
    return list(zip(known, written, strict=True))


def generate_reasoned(
    policy: Stored,
    shoppers: Sequence[Shopper],
    limits: ThinkLimits,
    how: Writing,
    prompt: Callable[[Shopper], str] = Shopper.think_prompt,
    constrained: bool = True,
) -> Generated:
    """The queries of all interest points of a shopper, in the order written, as one list."""
    return _filtered(
        (
            shopper,
            [query for point in parsed.interests.values() for query in point.queries],
            parsed.valid,
        )
        for shopper, parsed in reason(policy, shoppers, limits, how, prompt, constrained)
    )


def _filtered(written: Iterable[tuple[Shopper, Sequence[str], bool]]) -> Generated:
    lists, valid, blocked = {}, {}, 0
    for shopper, queries, well_formed in written:
        distinct = list(dict.fromkeys(queries))
        lists[shopper.user_id] = [query for query in distinct if is_allowed(query)]
        valid[shopper.user_id] = well_formed
        blocked += len(distinct) - len(lists[shopper.user_id])
    return Generated(lists, valid, blocked)


def _load(policy: Stored, how: Writing) -> tuple[Any, Any]:
    from aigq_tasks.policy.backbone import NO_DRAWS, load_writer, make_deterministic

    make_deterministic(NO_DRAWS, how.threads)
    return load_writer(policy.files())
