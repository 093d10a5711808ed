"""What public figures are known of, counted in a log of the market."""

from collections.abc import Sequence
from datetime import date

import numpy as np
import pandas as pd

from aigq_tasks.sources.market.intent.past import Counts, days_of

NEXT = 20  # HR@20 of the next item
_SMOOTHING = 30.0  # of what comes next, in steps


def facts_of(
    moves: Sequence[pd.DataFrame], counts: Counts, judged: tuple[date, date]
) -> dict[str, float]:
    """repeated: share of the searches of `judged` that their user made before, in these words;
    once: share of the volume of all searches that is of queries seen once; next, next_popular:
    how often the next step of a session is among the NEXT likeliest after the last, or the NEXT
    commonest; searched_unbought, looked_unbought: share of what is searched, or looked at at all,
    that is not bought then.

    moves: of `past.moves_of`, of the days in order; counts: of those before `judged`.
    """
    low, high = days_of(np.array(judged, "M8[D]"))
    log = pd.concat(moves, ignore_index=True)
    now = log[(log["time"] >= low) & (log["time"] < high + 1)]
    searches = log[log["typed"]].sort_values("time", kind="stable")
    before = searches.duplicated(["user", "query"])
    volume = searches["query"].value_counts()
    typed = now["typed"].to_numpy()
    hits, popular = next_item(now, counts)
    return {
        "repeated": float(before[searches["time"].between(low, high + 1)].mean()),
        "once": float((volume == 1).sum() / volume.sum()),
        "next": hits,
        "next_popular": popular,
        "searched_unbought": float(1 - now["bought"].to_numpy()[typed].mean()),
        "looked_unbought": float(1 - now["bought"].mean()),
    }


def next_item(moves: pd.DataFrame, counts: Counts) -> tuple[float, float]:
    """HR@NEXT of what came next after the last step most often, and of the commonest needs."""
    likely = counts.after + _SMOOTHING * (counts.seen / max(counts.seen.sum(), 1.0))
    best = np.argsort(-likely, axis=1, kind="stable")[:, :NEXT]
    common = np.argsort(-counts.seen, kind="stable")[:NEXT]
    known, session = moves["known"].to_numpy(), moves["session"].to_numpy()
    day = np.floor(moves["time"].to_numpy())
    both = (known[1:] >= 0) & (known[:-1] >= 0)
    both &= (session[1:] == session[:-1]) & (day[1:] == day[:-1])
    last, following = known[:-1][both], known[1:][both]
    hit = (best[last] == following[:, None]).any(axis=1)
    return float(hit.mean()), float(np.isin(following, common).mean())
