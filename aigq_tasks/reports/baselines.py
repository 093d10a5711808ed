"""The days of hints before the daily loop: their log, and how far the classic sources get."""

from collections.abc import Iterator
from datetime import date, timedelta

import pandas as pd

from aigq_tasks.errors import AigqError
from aigq_tasks.evaluation.arms import COLD_EVENTS, Case, Lists
from aigq_tasks.evaluation.metrics import need_segments, query_hit, user_segments
from aigq_tasks.pipeline.calendar import days_between, launch_day, stack_day
from aigq_tasks.pipeline.context import Context
from aigq_tasks.pipeline.reading import logs_of
from aigq_tasks.pipeline.reads import LOGS
from aigq_tasks.pipeline.runner import given_for
from aigq_tasks.serving.histories import BEHAVIOUR_TABLES
from aigq_tasks.stages.evaluate import JUDGED, STACKED, classic_lists, classic_slice, held_out_case


def hint_days(ctx: Context) -> list[date]:
    """The days with hints up to the bootstrap day: never one that the demo evaluates on.
    AigqError before they are landed."""
    last = ctx.settings.bootstrap_day
    if ctx.manifests.head(LOGS, last) is None:
        raise AigqError("nothing is landed yet: run 'aigq demo' or 'aigq bootstrap all'")
    return days_between(launch_day(ctx.settings), last)


def hint_logs(ctx: Context) -> dict[str, pd.DataFrame]:
    """The behaviours of `hint_days`, as tables of the log."""
    return logs_of(ctx, hint_days(ctx), BEHAVIOUR_TABLES)


def baselines(ctx: Context) -> pd.DataFrame:
    """Query HR@30, by what was searched, of the arms that no policy writes, for everybody on the
    days that a click model served, up to the bootstrap day: source, segment, hr (mean), n
    (user-days); one row per source and segment that anybody is in."""
    hits: dict[tuple[str, str], list[float]] = {}
    for case, lists_of in _judged(ctx):
        moment = pd.Timestamp(case.day)
        segments = {"all": case.truth} | need_segments(case.truth, case.history, moment)
        segments |= user_segments(case.truth, case.history, moment, min_events=COLD_EVENTS)
        for source, lists in lists_of.items():
            for segment, truth in segments.items():
                hits.setdefault((source, segment), []).extend(query_hit(lists, truth, 30))
    rows = [
        {"source": source, "segment": segment, "hr": sum(hit) / len(hit), "n": len(hit)}
        for (source, segment), hit in hits.items()
        if hit
    ]
    return pd.DataFrame(rows)


def _judged(ctx: Context) -> Iterator[tuple[Case, dict[str, Lists]]]:
    """Each day with what is asked of it and what the sources offer."""
    settings = classic_slice(ctx.settings).model_copy(update={"holdout": 1.0})
    first = stack_day(ctx.settings) + timedelta(days=1)
    for day in days_between(first, ctx.settings.bootstrap_day):
        given = given_for(ctx, day, (*STACKED, *JUDGED))
        case = held_out_case(given, settings, day)
        yield case, classic_lists(given, settings, case)
