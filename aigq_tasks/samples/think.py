"""Training samples of AIGQ-Think (paper 3.3-3.4.2, Eq 2, 4, 7-9)."""

from collections.abc import Sequence

import pandas as pd

from aigq_tasks.context.interests import TargetLimits, render_interests, within
from aigq_tasks.context.prompt import Shopper
from aigq_tasks.samples.labels import GENERATED, RANKED
from aigq_tasks.teacher.teachers import Teacher

COLUMNS = ["sample_id", "user_id", "time", "prompt", "target", "labels", "triggers"]


def judged_labels(
    shoppers: Sequence[Shopper], labels: Sequence[pd.DataFrame], teacher: Teacher
) -> list[list[str]]:
    """Per shopper the labels (query, tier; best first) without those guesses that the judge finds
    out of line with the history (end of 3.3.2). Clicks and searches are feedback, not guesses:
    they stay, or nothing new could ever be learned."""
    guesses = [
        rows.loc[rows["tier"].isin([RANKED, GENERATED]), "query"].tolist() for rows in labels
    ]
    kept = [set(own) for own in teacher.judge(shoppers, guesses)]
    return [
        [query for query in rows["query"] if query not in set(own) or query in fit]
        for rows, own, fit in zip(labels, guesses, kept, strict=True)
    ]


def think_samples(
    sessions: pd.DataFrame,
    shoppers: Sequence[Shopper],
    labels: Sequence[Sequence[str]],
    teacher: Teacher,
    limits: TargetLimits,
) -> pd.DataFrame:
    """One row per session with an interest point: sample_id, user_id, time, prompt, target,
    labels (list of str: the queries of the target in order), triggers (list of lists of int).

    sessions: session_id, user_id, time, parallel to shoppers and labels."""
    rows = []
    explained = teacher.explain(shoppers, labels, limits.interests)
    heads = sessions[["session_id", "user_id", "time"]].itertuples(index=False)
    for head, shopper, interests in zip(heads, shoppers, explained, strict=True):
        if not interests:
            continue
        interests = within(interests, limits)
        queries = [query for interest in interests for query in interest.queries]
        triggers = [list(interest.triggers) for interest in interests]
        target = render_interests(interests)
        rows.append((*head, shopper.think_prompt(), target, queries, triggers))
    return pd.DataFrame(rows, columns=COLUMNS)
