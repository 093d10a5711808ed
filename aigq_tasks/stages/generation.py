"""From a stored policy to queries that may be shown: shoppers, generation, filters."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from aigq_tasks.context.prompt import Histories, Shopper, profile_words
from aigq_tasks.context.queries import is_allowed
from aigq_tasks.stages.context import Context
from aigq_tasks.stages.reading import files
from aigq_tasks.storage.manifests import Manifest

if TYPE_CHECKING:
    from aigq_tasks.policy.think import ParsedThink


@dataclass(frozen=True)
class Generated:
    """lists: user -> queries that may be shown, best first. valid: user -> whether the policy
    wrote a well-formed list of the wanted length. blocked: queries that the filters dropped."""

    lists: dict[str, list[str]]
    valid: dict[str, bool]
    blocked: int


def generation_config(ctx: Context) -> dict[str, Any]:
    """The settings that change what a stored policy writes for a shopper."""
    return {
        "seed": ctx.settings.policy.seed,
        "threads": ctx.settings.policy.threads,
        "history_lines": ctx.settings.samples.history_lines,
        "history_days": ctx.settings.market.history_days,
        **ctx.settings.generation.model_dump(),
    }


def shoppers_at(
    ctx: Context, users: Iterable[str], profiles: pd.DataFrame, behaviours: pd.DataFrame, now: date
) -> list[Shopper]:
    """The users in sorted order, from the behaviours before the start of the day `now`."""
    words, histories = profile_words(profiles), Histories.of(behaviours)
    limit, moment = ctx.settings.samples.history_lines, np.datetime64(now, "us")
    return [
        histories.shopper(user, words.get(user, ""), moment, limit) for user in sorted(set(users))
    ]


def generate(
    ctx: Context,
    policy: Manifest,
    shoppers: Sequence[Shopper],
    prompt: Callable[[Shopper], str] = Shopper.prompt,
) -> Generated:
    """Greedy lists of a stored AIGQ-Direct policy, filtered: normal form, unique, allowed."""
    from aigq_tasks.policy.generate import generate_lists

    settings = ctx.settings.generation
    parsed = generate_lists(
        *_load(ctx, policy),
        [prompt(shopper) for shopper in shoppers],
        settings.list_length,
        batch_size=settings.batch_size,
        progress=True,
    )
    pairs = zip(shoppers, parsed, strict=True)
    return _filtered((shopper, written.queries, written.valid) for shopper, written in pairs)


def reason(
    ctx: Context,
    policy: Manifest,
    shoppers: Sequence[Shopper],
    prompt: Callable[[Shopper], str] = Shopper.think_prompt,
    constrained: bool = True,
) -> "list[tuple[Shopper, ParsedThink]]":
    """What a stored AIGQ-Think policy writes for each shopper, constrained to the layout or not.
    One without any history is left out: there is nothing to reason from."""
    from aigq_tasks.policy.think_generate import generate_think

    known = [shopper for shopper in shoppers if shopper.lines]
    written = generate_think(
        *_load(ctx, policy),
        [prompt(shopper) for shopper in known],
        [len(shopper.lines) for shopper in known],
        ctx.settings.think.limits,
        ctx.settings.generation.batch_size,
        constrained=constrained,
        progress=True,
    )
    return list(zip(known, written, strict=True))


def generate_reasoned(
    ctx: Context,
    policy: Manifest,
    shoppers: Sequence[Shopper],
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
        for shopper, parsed in reason(ctx, policy, shoppers, prompt, constrained)
    )


def _filtered(written: Iterable[tuple[Shopper, Sequence[str], bool]]) -> Generated:
    lists, valid, blocked = {}, {}, 0
    for shopper, queries, well_formed in written:
        distinct = list(dict.fromkeys(queries))
        lists[shopper.user_id] = [query for query in distinct if is_allowed(query)]
        valid[shopper.user_id] = well_formed
        blocked += len(distinct) - len(lists[shopper.user_id])
    return Generated(lists, valid, blocked)


def _load(ctx: Context, policy: Manifest) -> tuple[Any, Any]:
    from aigq_tasks.policy.backbone import load_policy, make_deterministic

    make_deterministic(ctx.settings.policy.seed, ctx.settings.policy.threads)
    return load_policy(files(ctx, policy))
