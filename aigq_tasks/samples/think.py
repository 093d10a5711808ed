"""Training samples of AIGQ-Think (paper 3.3-3.4.2, Eq 2, 4, 7-9)."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import numpy as np
import pandas as pd

from aigq_tasks.context.interests import render_interests
from aigq_tasks.context.prompt import Histories, render_think_prompt
from aigq_tasks.samples.labels import GENERATED, RANKED
from aigq_tasks.teacher.tasks import Case
from aigq_tasks.teacher.teachers import Teacher


def think_cases(
    sessions: pd.DataFrame, profiles: Mapping[str, str], histories: Histories, limit: int
) -> list[Case]:
    """What is known of each session's user before it begins: at most `limit` history lines.

    sessions: user_id, time."""
    return [
        Case(user, profiles.get(user, ""), tuple(histories.lines(user, _moment(time), limit)))
        for user, time in zip(sessions["user_id"], sessions["time"], strict=True)
    ]


def _moment(time: datetime) -> np.datetime64:
    return np.datetime64(time, "us")


def judged_labels(
    cases: Sequence[Case], labels: Sequence[pd.DataFrame], teacher: Teacher
) -> list[list[str]]:
    """Per case its labels (query, tier; best first) without those guesses that the judge finds
    out of line with the history (end of 3.3.2). Clicks and searches are feedback, not guesses:
    they stay, or nothing new could ever be learned."""
    guesses = [
        rows.loc[rows["tier"].isin([RANKED, GENERATED]), "query"].tolist() for rows in labels
    ]
    kept = [set(own) for own in teacher.judge(cases, guesses)]
    return [
        [query for query in rows["query"] if query not in set(own) or query in fit]
        for rows, own, fit in zip(labels, guesses, kept, strict=True)
    ]


def think_samples(
    sessions: pd.DataFrame,
    cases: Sequence[Case],
    labels: Sequence[Sequence[str]],
    teacher: Teacher,
    most: int,
) -> pd.DataFrame:
    """One row per session with an interest point: sample_id, user_id, time, prompt, target,
    labels (list of str: the queries of the target in order), triggers (list of lists of int).

    sessions: session_id, user_id, time, parallel to cases and labels."""
    rows = []
    explained = teacher.explain(cases, labels, most)
    heads = sessions[["session_id", "user_id", "time"]].itertuples(index=False)
    for head, case, interests in zip(heads, cases, explained, strict=True):
        if not interests:
            continue
        rows.append(
            {
                "sample_id": head.session_id,
                "user_id": head.user_id,
                "time": head.time,
                "prompt": render_think_prompt(case.profile, case.lines),
                "target": render_interests(interests),
                "labels": [query for interest in interests for query in interest.queries],
                "triggers": [list(interest.triggers) for interest in interests],
            }
        )
    columns = ["sample_id", "user_id", "time", "prompt", "target", "labels", "triggers"]
    return pd.DataFrame(rows, columns=columns)
