"""Training samples of AIGQ-Direct (paper 3.3; DESIGN Eq 2-3).

A session is one exposure (a request with three hints) with at least one click. Its labels are
the clicked hints, then the top of what production ranked for that user that day.
"""

from dataclasses import dataclass

import pandas as pd

from aigq_tasks.context.prompt import Histories, profile_words, render_prompt


@dataclass(frozen=True)
class Session:
    """One exposure with a click: clicked hints in order of position."""

    request_id: str
    user_id: str
    time: pd.Timestamp
    clicked: tuple[str, ...]


def direct_sessions(impressions: pd.DataFrame) -> list[Session]:
    """Sessions of a day's `hint_impressions`, in order of (time, request_id)."""
    clicked = impressions[impressions["clicked"]].sort_values(["time", "request_id", "position"])
    return [
        Session(str(request), rows["user_id"].iloc[0], rows["time"].iloc[0], tuple(rows["query"]))
        for request, rows in clicked.groupby("request_id", sort=False)
    ]


def label_list(clicked: tuple[str, ...], ranked: list[str], size: int) -> list[str]:
    """Eq 3: L = [clicked hint] ⊕ top-ranked queries, de-duplicated in this order, `size` long
    at most. The clicked hint comes first because feedback outweighs the ranker's prior."""
    return list(dict.fromkeys([*clicked, *ranked]))[:size]


def direct_samples(
    impressions: pd.DataFrame,
    rankings: pd.DataFrame,
    users: pd.DataFrame,
    histories: Histories,
    held_out: set[str],
    labels: int,
    history_lines: int,
) -> pd.DataFrame:
    """One row per session of a user who is not held out: sample_id, user_id, time, prompt,
    labels (list of str). The history in the prompt ends before the request."""
    words = profile_words(users)
    ranked = rankings.sort_values(["user_id", "rank"]).groupby("user_id")["query"].agg(list)
    rows = []
    for session in direct_sessions(impressions):
        if session.user_id in held_out:
            continue
        lines = histories.lines(session.user_id, session.time.to_datetime64(), history_lines)
        top = ranked.get(session.user_id, [])
        rows.append(
            {
                "sample_id": session.request_id,
                "user_id": session.user_id,
                "time": session.time,
                "prompt": render_prompt(words.get(session.user_id, ""), lines),
                "labels": label_list(session.clicked, top, labels),
            }
        )
    return pd.DataFrame(rows, columns=["sample_id", "user_id", "time", "prompt", "labels"])
