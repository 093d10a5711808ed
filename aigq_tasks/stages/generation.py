"""From a stored policy to lists that may be shown: prompts, generation, filters."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd

from aigq_tasks.context.prompt import Histories, profile_words, render_prompt
from aigq_tasks.context.queries import is_allowed
from aigq_tasks.stages.context import Context
from aigq_tasks.stages.reading import files
from aigq_tasks.storage.manifests import Manifest


@dataclass(frozen=True)
class Generated:
    """lists: user -> queries that may be shown, best first. valid: user -> whether the policy
    wrote a well-formed list of the wanted length. blocked: queries that the filters dropped."""

    lists: dict[str, list[str]]
    valid: dict[str, bool]
    blocked: int


def prompts_at(
    ctx: Context, users: Sequence[str], profiles: pd.DataFrame, histories: Histories, now: date
) -> dict[str, str]:
    """user -> prompt from the behaviours before the start of the day `now`."""
    words = profile_words(profiles)
    limit = ctx.settings.samples.history_lines
    moment = np.datetime64(now, "us")
    return {
        user: render_prompt(words.get(user, ""), histories.lines(user, moment, limit))
        for user in users
    }


def generate(ctx: Context, policy: Manifest, prompts: Mapping[str, str]) -> Generated:
    """Greedy lists of a stored policy for every prompt, filtered: normal form, unique, allowed."""
    from aigq_tasks.policy.backbone import load_policy, make_deterministic
    from aigq_tasks.policy.generate import generate_lists

    settings = ctx.settings
    make_deterministic(settings.policy.seed, settings.policy.threads)
    network, tokenizer = load_policy(files(ctx, policy))
    users = sorted(prompts)
    parsed = generate_lists(
        network,
        tokenizer,
        [prompts[user] for user in users],
        settings.generation.list_length,
        batch_size=settings.generation.batch_size,
        max_query_tokens=settings.generation.max_query_tokens,
        progress=True,
    )
    lists, valid, blocked = {}, {}, 0
    for user, written in zip(users, parsed, strict=True):
        queries = list(dict.fromkeys(written.queries))
        lists[user] = [query for query in queries if is_allowed(query)]
        valid[user] = written.valid
        blocked += len(queries) - len(lists[user])
    return Generated(lists, valid, blocked)
