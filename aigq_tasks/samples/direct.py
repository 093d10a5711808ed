"""Training samples of AIGQ-Direct (paper 3.3, Eq 2-3): one per exposure with a click."""

import ibis
import pandas as pd

from aigq_tasks.context.prompt import Histories, profile_words
from aigq_tasks.samples.engine import Execute
from aigq_tasks.samples.labels import direct_candidates as candidates
from aigq_tasks.samples.labels import label_lists
from aigq_tasks.samples.sessions import COLUMNS as HEAD
from aigq_tasks.samples.sessions import LOG_COLUMNS, direct_sessions, kept_sessions

COLUMNS = ["sample_id", "user_id", "time", "prompt", "labels"]


def direct_samples(
    impressions: pd.DataFrame,
    rankings: pd.DataFrame,
    users: pd.DataFrame,
    histories: Histories,
    held_out: set[str],
    labels: int,
    history_lines: int,
    execute: Execute,
) -> pd.DataFrame:
    """One row per session of a user who is not held out, in order of (time, session): sample_id,
    user_id, time, prompt, labels (list of str, at most `labels`). The history in the prompt ends
    before the request. The tables are those of one day."""
    shown = ibis.memtable(impressions[LOG_COLUMNS["hint_impressions"]])
    sessions = kept_sessions(direct_sessions(shown), held_out)
    places = ibis.memtable(rankings[LOG_COLUMNS["hint_rankings"]])
    ranked = label_lists(candidates(sessions, shown, places), labels, execute)
    words = profile_words(users)
    heads = execute(sessions)
    rows = []
    for session, user, time in zip(*(heads[name] for name in HEAD), strict=True):
        moment, profile = time.to_datetime64(), words.get(user, "")
        shopper = histories.shopper(user, profile, moment, history_lines)
        rows.append((session, user, time, shopper.prompt(), ranked[session]["query"].tolist()))
    return pd.DataFrame(rows, columns=COLUMNS)
