"""Stage `u2q`: refresh the user→query cache with the accepted policy (paper 4.1)."""

from datetime import date, timedelta

from aigq_tasks.pipeline.calendar import history
from aigq_tasks.pipeline.given import Given, Stored
from aigq_tasks.pipeline.reads import Logs, Release, Result, today
from aigq_tasks.pipeline.stage import Output, Slice, Stage
from aigq_tasks.serving.histories import BEHAVIOUR_TABLES, history_of, shoppers_at
from aigq_tasks.serving.lists import Writing, generate, writing


class U2qSlice(Slice):
    """What the policy writes, and from how much history."""

    history_lines: int
    list_length: int
    writing: Writing


def compute(given: Given, settings: U2qSlice, day: date) -> Output:
    """Lists for the users of the day, from all behaviours up to its end; others carry over."""
    from aigq_tasks.recall import u2q

    users, moment = given.logs("today")["users"], day + timedelta(days=1)
    behaviours = history_of(given, "history")
    lines = settings.history_lines
    shoppers = shoppers_at(users["user_id"], users, behaviours, moment, lines)
    generated = generate(serving_policy(given), shoppers, settings.list_length, settings.writing)
    entries = u2q.build(generated.lists, day)
    if given.released("u2q"):
        entries = u2q.merge(given.release("u2q").table("u2q"), entries)
    return Output(
        tables={"u2q": entries},
        metrics={
            "refreshed_users": float(len(shoppers)),
            "users": float(entries["user_id"].nunique()),
            "blocked_queries": float(generated.blocked),
            "valid_lists": round(sum(generated.valid.values()) / max(1, len(shoppers)), 6),
        },
    )


def serving_policy(given: Given) -> Stored:
    """The challenger if a gate accepted it, else the policy of the release."""
    if given.has("gate") and given.result("gate").record("verdict.json")["accepted"]:
        return given.result("policy")
    return given.release("direct")


U2Q = Stage(
    name="u2q",
    needs=("s3", "mlflow"),
    reads=(
        Result("gate"),
        Result("policy"),
        Release("direct"),
        Release("u2q", optional=True),
        Release("item-texts"),
        Logs("history", BEHAVIOUR_TABLES, history),
        Logs("today", ("users",), today),
    ),
    settings=lambda settings: U2qSlice(
        history_lines=settings.samples.history_lines,
        list_length=settings.generation.list_length,
        writing=writing(settings),
    ),
    compute=compute,
)
