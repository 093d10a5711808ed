"""Stages `rivals` and `evaluate`: how good are the day's challengers?

The rivals (champion, IL-SFT, AIGQ-Think as it serves, the classic sources) do not wait for the
challengers' training, so they are scored beside it.

Truth is what a held-out user searched or clicked among the hints on D. Every arm sees that user's
behaviours before D only; the classic sources and the click model are those of the release that
served D, and the challenger was trained without any row of a held-out user's D (see
`samples.holdout`). So no label leaks into any arm.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from aigq_tasks.context.interests import ThinkLimits
from aigq_tasks.evaluation.arms import Case, Lists, behaviour_scores, score_arms, truth_of_day
from aigq_tasks.pipeline.calendar import before, profiles_before, renews_think
from aigq_tasks.pipeline.given import Given, Stored
from aigq_tasks.pipeline.reads import Logs, Read, Release, Result, Truth, today
from aigq_tasks.pipeline.stage import Output, Slice, Stage
from aigq_tasks.recall.config import Candidates, Exposure
from aigq_tasks.samples.holdout import held_out
from aigq_tasks.serving.histories import (
    BEHAVIOUR_TABLES,
    history_of,
    latest_profiles,
    shoppers_at,
)
from aigq_tasks.serving.lists import Writing, generate, generate_reasoned, writing
from aigq_tasks.serving.stack import (
    STACK_KINDS,
    classic_sources,
    classifier,
    click_model,
    click_scorer,
    release_stack,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aigq_tasks.settings import Settings

THINK_CHALLENGER = "think challenger"  # the arm; the one that serves is "think"
# Of the stack that served the day; the challenger's lists take the place of its u2q.
RANKED = tuple(kind for kind in STACK_KINDS if kind != "u2q")
Written = tuple[dict[str, Lists], dict[str, dict[str, bool]]]  # lists, and which are well-formed


class Asking(Slice):
    """Of whom an evaluation asks, and what is known of them. seed: of who is held out. holdout:
    their share; 1 for everybody, where the compared models never saw the day."""

    seed: int
    holdout: float
    history_lines: int


class Judging(Asking):
    """The settings that change what an arm writes, or for whom. seed: also of the bootstrap
    behind the intervals."""

    list_length: int
    own_brand: tuple[str, ...]
    limits: ThinkLimits
    writing: Writing


class EvaluateSlice(Judging):
    """candidates, exposure: of the pages that the challenger's lists would have made."""

    candidates: Candidates
    exposure: Exposure


def compute_rivals(given: Given, settings: Judging, day: date) -> Output:
    """Per-user scores of all that the day's challengers are compared with."""
    case = held_out_case(given, settings, day)
    direct = {"champion": given.release("direct"), "sft": given.release("sft")}
    lists, valid = written_lists(case, settings, direct, {"think": given.release("think")})
    classic = classic_lists(given, settings, case)
    scores = policy_scores(given, settings, case, lists, valid, classic)
    return Output(tables={"scores": scores})


def compute(given: Given, settings: EvaluateSlice, day: date) -> Output:
    """Per-user scores and their means, for every arm and segment; and the day's hints, with what
    the challenger's lists would have shown in their place (`evaluation.reweighting`)."""
    think = {}
    if given.has("think-policy"):
        think[THINK_CHALLENGER] = given.result("think-policy")
    case = held_out_case(given, settings, day)
    lists, valid = written_lists(case, settings, {"challenger": given.result("policy")}, think)
    hints = reweighted_hints(given, settings, case, lists["challenger"])
    scores = pd.concat(
        [
            policy_scores(given, settings, case, lists, valid, {}),
            given.result("rivals").table("scores"),
        ]
    ).sort_values(["arm", "user_id"], ignore_index=True)
    results = summarize(scores, settings.seed)
    return Output(
        tables={"scores": scores, "hints": hints},
        records={"results.json": results},
        metrics=_headline(results),
        charts={"query_hr_30.png": _bars(results, f"Held-out users on {case.day}")},
    )


def held_out_case(given: Given, settings: Asking, day: date) -> Case:
    """The held-out users of `day`, what they asked for, and what was known before."""
    asked = truth_of_day(given.logs("today"), day)
    kept = held_out(asked, day, settings.holdout, settings.seed)
    truth = {user: queries for user, queries in asked.items() if user in kept}
    history = history_of(given, "before")
    profiles = latest_profiles(given.logs("profiles")["users"])
    shoppers = shoppers_at(truth, profiles, history, day, settings.history_lines)
    return Case(day, truth, shoppers, history)


def written_lists(
    case: Case, settings: Judging, direct: Mapping[str, Stored], think: Mapping[str, Stored]
) -> Written:
    """What stored policies of either variant write: arm -> user -> list, and arm -> user -> was it
    well-formed. A policy that stands for two arms writes once."""
    length, how = settings.list_length, settings.writing
    distinct = {policy.digest: policy for policy in direct.values()}
    made = {key: generate(own, case.shoppers, length, how) for key, own in distinct.items()}
    written = {arm: made[policy.digest] for arm, policy in direct.items()}
    for arm, policy in think.items():
        written[arm] = generate_reasoned(policy, case.shoppers, settings.limits, how)
    return (
        {arm: own.lists for arm, own in written.items()},
        {arm: own.valid for arm, own in written.items()},
    )


def policy_scores(
    given: Given,
    settings: Judging,
    case: Case,
    lists: dict[str, Lists],
    valid: dict[str, dict[str, bool]],
    classic: Mapping[str, Lists],
) -> pd.DataFrame:
    """`arm_scores` of what policies wrote, with their `behaviour_scores` by the day's click model;
    of the classic arms without."""
    scores = arm_scores(given, case, {**classic, **lists}, valid)
    scorer = click_scorer(
        given.result("ctr"),
        classifier(given.release("categories")),
        given.logs("before"),
        case.history,
        case.day,
        settings.own_brand,
    )
    return scores.merge(behaviour_scores(case, lists, scorer), "left", ["arm", "user_id"])


def arm_scores(
    given: Given,
    case: Case,
    lists: dict[str, Lists],
    valid: dict[str, dict[str, bool]],
) -> pd.DataFrame:
    """`evaluation.arms.score_arms` with the release's classifier and the source's truth."""
    from aigq_tasks.evaluation.encoder import SentenceEncoder

    classify = classifier(given.release("categories")).classify
    truth = next(iter(given.truths()), None)
    return score_arms(case, lists, valid, classify, SentenceEncoder(), truth)


def classic_lists(given: Given, settings: Judging, case: Case) -> dict[str, Lists]:
    """Arms that no policy writes: the recall sources of the release that served the day, and
    what its whole stack ranked ("production")."""
    users, k = sorted(case.truth), settings.list_length
    lists: dict[str, Lists] = {}
    for name, source in classic_sources(given.release("recall")).items():
        found = source.recall(users, case.history, pd.Timestamp(case.day), k)
        lists[name] = {user: [query for query, _ in found[user]] for user in users}
    ranked = first_rankings(given.logs("today"))
    stack = ranked.groupby("user_id")["query"].agg(list)
    lists["production"] = {user: stack.get(user, []) for user in users}
    return lists


def first_rankings(log: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """`hint_rankings` of each user's first request of a day, by user and rank."""
    shown = log["hint_impressions"].sort_values(["time", "request_id"])
    first = shown.drop_duplicates("user_id")["request_id"]
    ranked = log["hint_rankings"]
    return ranked[ranked["request_id"].isin(first)].sort_values(["user_id", "rank"])


def reweighted_hints(
    given: Given,
    settings: EvaluateSlice,
    case: Case,
    lists: Mapping[str, Sequence[str]],
) -> pd.DataFrame:
    """`evaluation.reweighting.reweighted` of the day's hints for held-out users who searched: the
    stack that served the day with these lists in place of its u2q. lists: user -> queries."""
    from aigq_tasks.evaluation.reweighting import reweighted
    from aigq_tasks.recall import u2q

    log = given.logs("today")
    searched = set(log["searches"]["user_id"]) & set(case.truth)
    shown = log["hint_impressions"]
    shown = shown[shown["user_id"].isin(searched)]
    models = {kind: given.release(kind) for kind in RANKED}
    stack = release_stack(
        models, given.logs("before"), case.day, settings.candidates, settings.own_brand
    )
    click = click_model(models["ctr"])
    own = u2q.U2qSource(u2q.build(lists, case.day))
    other = replace(stack, sources=(own, *(one for one in stack.sources if one.name != own.name)))

    def predict(
        users: Sequence[str], queries: Sequence[str], positions: "NDArray[np.int64]"
    ) -> "NDArray[np.float64]":
        columns = (pd.Series(users), pd.Series(queries), pd.Series(positions))
        return click.predict(stack.features(*columns).to_numpy(np.float32))

    ranking = other.rank(sorted(shown["user_id"].unique()))
    return reweighted(shown, ranking, predict, settings.exposure)


def summarize(scores: pd.DataFrame, seed: int) -> dict[str, dict[str, dict[str, float]]]:
    """arm -> metric -> mean, low, high (95% bootstrap over users), n."""
    from aigq_tasks.evaluation.intervals import bootstrap_mean_ci

    results: dict[str, dict[str, dict[str, float]]] = {}
    for arm, rows in scores.groupby("arm", sort=True):
        results[str(arm)] = {}
        for metric in rows.columns.drop(["arm", "user_id"]):
            known = rows[rows[metric].notna()]
            if len(known) == 0:
                continue
            values = known[metric].to_numpy(np.float64)
            interval = bootstrap_mean_ci(values, known["user_id"].tolist(), seed=seed)
            results[str(arm)][metric] = {
                "mean": round(interval.mean, 6),
                "low": round(interval.low, 6),
                "high": round(interval.high, 6),
                "n": float(len(known)),
            }
    return results


def _headline(results: dict[str, dict[str, dict[str, float]]]) -> dict[str, float | str]:
    return {
        f"{arm}/{metric}": value["mean"]
        for arm, metrics in sorted(results.items())
        for metric, value in sorted(metrics.items())
    }


def _bars(results: dict[str, dict[str, dict[str, float]]], title: str) -> bytes:
    from aigq_tasks.evaluation.charts import hit_rate_bars
    from aigq_tasks.evaluation.intervals import Interval

    bars = {}
    for arm, metrics in results.items():
        value = metrics["query_hr_30"]
        bars[arm] = Interval(value["mean"], value["low"], value["high"], int(value["n"]))
    return hit_rate_bars(bars, title=title, ylabel="Query HR@30")


def judging(settings: "Settings") -> Judging:
    return Judging(
        seed=settings.seed,
        holdout=settings.samples.holdout,
        history_lines=settings.samples.history_lines,
        list_length=settings.generation.list_length,
        own_brand=settings.ctr.own_brand,
        limits=settings.think.limits,
        writing=writing(settings),
    )


JUDGED: tuple[Read, ...] = (
    Logs("before", BEHAVIOUR_TABLES, before),
    Logs("profiles", ("users",), profiles_before),
    Logs("today", (*BEHAVIOUR_TABLES, "hint_rankings"), today),
    Release("categories"),
    Release("item-texts"),
    Truth(),
)

RIVALS = Stage(
    name="rivals",
    needs=("s3",),
    reads=(
        Result("ctr"),
        *(Release(kind) for kind in ("direct", "sft", "think", "recall")),
        *JUDGED,
    ),
    settings=judging,
    compute=compute_rivals,
)

EVALUATE = Stage(
    name="evaluate",
    needs=("s3", "mlflow"),
    reads=(
        Result("policy"),
        Result("think-policy", when=renews_think),
        Result("ctr"),
        Result("rivals"),
        *JUDGED,
    ),
    settings=lambda settings: EvaluateSlice(
        **dict(judging(settings)),
        candidates=settings.recall.candidates,
        exposure=settings.exposure,
    ),
    compute=compute,
).reading(*map(Release, RANKED))
