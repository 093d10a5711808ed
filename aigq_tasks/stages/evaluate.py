"""Stages `rivals` and `evaluate`: how good are the day's challengers?

The rivals (champion, IL-SFT, the release of a week ago, AIGQ-Think as it serves, the classic
sources) do not wait for the challengers' training, so they are scored beside it.

Truth is what a held-out user searched on D after the moment of the list, which is the day's start:
lists are written nightly; further truths stand beside it (`evaluation.truth`). Who is held out
follows from the user and the day alone, never from what was shown. Every arm sees that user's
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
from aigq_tasks.evaluation.arms import Case, Lists, behaviour_scores, by_turns, score_arms
from aigq_tasks.evaluation.truth import truths_of_day
from aigq_tasks.evaluation.variety import distinct_queries
from aigq_tasks.pipeline.calendar import before, profiles_before, renews_think
from aigq_tasks.pipeline.given import Given, Stored
from aigq_tasks.pipeline.lines import WEEK_AGO, WeekAgo
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
FIXED = "sft"  # the arm of IL-SFT: the anchor that never moves
POLICIES = "policies.json"  # arm -> digest and day of the policy that wrote its lists
# Arms that no policy writes: what a person would try in an hour, and the stack that served the day
# without and with AIGQ's two sources.
INTERLEAVED, WITHOUT_AIGQ, PRODUCTION = "interleaved", "stack without AIGQ", "production"
# Of the stack that served the day; the challenger's lists take the place of its u2q.
RANKED = tuple(kind for kind in STACK_KINDS if kind != "u2q")
WRITTEN = ("u2q", "x2q")  # the sources that language models write
Written = tuple[dict[str, Lists], dict[str, dict[str, bool]]]  # lists, and which are well-formed


class Asking(Slice):
    """Of whom an evaluation asks, and what is known of them. seed: of who is held out. holdout:
    their share; 1 for everybody, where the compared models never saw the day."""

    seed: int
    holdout: float
    history_lines: int


class ClassicSlice(Asking):
    """The settings that change what an arm lists that no policy writes. candidates: those that a
    stack asks of its sources."""

    list_length: int
    own_brand: tuple[str, ...]
    candidates: Candidates


class Judging(ClassicSlice):
    """And those that change what a policy writes. seed: also of the bootstrap behind the
    intervals."""

    limits: ThinkLimits
    writing: Writing


class EvaluateSlice(Judging):
    """exposure: of the pages that the challenger's lists would have made."""

    exposure: Exposure


def compute_rivals(given: Given, settings: Judging, day: date) -> Output:
    """Per-user scores of all that the day's challengers are compared with."""
    case = held_out_case(given, settings, day)
    arms = {"champion": "direct", FIXED: "sft", WEEK_AGO: WEEK_AGO}
    direct = {arm: given.release(kind) for arm, kind in arms.items()}
    lists, valid = written_lists(case, settings, direct, {"think": given.release("think")})
    classic = classic_lists(given, settings, case)
    scores = policy_scores(given, settings, case, lists, valid, classic)
    return Output(
        tables={"scores": scores, "variety": distinct_queries({**classic, **lists}, case.users)},
        records={POLICIES: written_by(direct)},
    )


def compute(given: Given, settings: EvaluateSlice, day: date) -> Output:
    """Per-user scores and their means, for every arm and segment; how many different queries each
    arm offers; and the day's hints, with what the challenger's lists would have shown in their
    place (`evaluation.reweighting`)."""
    think = {}
    if given.has("think-policy"):
        think[THINK_CHALLENGER] = given.result("think-policy")
    case = held_out_case(given, settings, day)
    direct = {"challenger": given.result("policy")}
    lists, valid = written_lists(case, settings, direct, think)
    hints = reweighted_hints(given, settings, case, lists["challenger"])
    rivals = given.result("rivals")
    scores = pd.concat(
        [policy_scores(given, settings, case, lists, valid, {}), rivals.table("scores")]
    ).sort_values(["arm", "user_id"], ignore_index=True)
    variety = pd.concat(
        [distinct_queries(lists, case.users), rivals.table("variety")], ignore_index=True
    ).sort_values("arm", ignore_index=True)
    results = summarize(scores, variety, settings.seed)
    return Output(
        tables={"scores": scores, "variety": variety, "hints": hints},
        records={
            "results.json": results,
            POLICIES: rivals.record(POLICIES) | written_by(direct),
        },
        metrics=_headline(results),
        charts={"query_hr_30.png": _bars(results, f"Held-out users on {case.day}")},
    )


def held_out_case(given: Given, settings: Asking, day: date) -> Case:
    """The held-out users of `day`, what they asked for, and what was known before."""
    asked = truths_of_day(given.logs("today"), day)
    truths = asked.of(held_out(asked.users, day, settings.holdout, settings.seed))
    history = history_of(given, "before")
    profiles = latest_profiles(given.logs("profiles")["users"])
    shoppers = shoppers_at(truths.users, profiles, history, day, settings.history_lines)
    return Case(day, truths, shoppers, history)


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


def written_by(policies: Mapping[str, Stored]) -> dict[str, dict[str, str]]:
    """Arm -> digest and day of the policy that wrote its lists."""
    return {
        arm: {"digest": own.digest, "day": own.day.isoformat()} for arm, own in policies.items()
    }


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
    needs = next(iter(given.truths()), None)
    return score_arms(case, lists, valid, classify, SentenceEncoder(), needs)


def classic_lists(given: Given, settings: ClassicSlice, case: Case) -> dict[str, Lists]:
    """Arms that no policy writes, of the release that served the day, each as the day begins: its
    recall sources, own history and popularity by turns, its stack without u2q and x2q, and all of
    it ("production")."""
    users, k = case.users, settings.list_length
    lists: dict[str, Lists] = {}
    for name, source in classic_sources(given.release("recall")).items():
        found = source.recall(users, case.history, pd.Timestamp(case.day), k)
        lists[name] = {user: [query for query, _ in found[user]] for user in users}
    lists[INTERLEAVED] = by_turns(lists["own_history"], lists["popularity"], k)
    models = {kind: given.release(kind) for kind in STACK_KINDS if given.released(kind)}
    stack = release_stack(
        models, given.logs("before"), case.day, settings.candidates, settings.own_brand
    )
    without = stack.with_sources([one.name for one in stack.sources if one.name not in WRITTEN])
    lists[WITHOUT_AIGQ] = _ranked(without.rank(users), users)
    lists[PRODUCTION] = _ranked(stack.rank(users), users)
    return lists


def _ranked(rankings: pd.DataFrame, users: Sequence[str]) -> Lists:
    """Each user's queries of a table like `hint_rankings`, [] without any."""
    ordered = rankings.sort_values(["user_id", "rank"]).groupby("user_id")["query"].agg(list)
    return {user: ordered.get(user, []) for user in users}


def reweighted_hints(
    given: Given,
    settings: EvaluateSlice,
    case: Case,
    lists: Mapping[str, Sequence[str]],
) -> pd.DataFrame:
    """`evaluation.reweighting.reweighted` of the day's hints for held-out users who searched: the
    stack that served the day with these lists in place of its u2q, request by request.
    lists: user -> queries."""
    from aigq_tasks.evaluation.reweighting import reweighted
    from aigq_tasks.recall import u2q

    log = given.logs("today")
    shown = log["hint_impressions"]
    shown = shown[shown["user_id"].isin(list(case.truth))]
    models = {kind: given.release(kind) for kind in RANKED}
    stack = release_stack(
        models, given.logs("before"), case.day, settings.candidates, settings.own_brand
    )
    click = click_model(models["ctr"])
    own = u2q.U2qSource(u2q.build(lists, case.day))
    other = replace(stack, sources=(own, *(one for one in stack.sources if one.name != own.name)))
    requests = shown.drop_duplicates("request_id").sort_values(["time", "request_id"])
    answers = other.asked(requests[["request_id", "user_id", "time"]], log)

    def predict(
        asked: Sequence[str], queries: Sequence[str], positions: "NDArray[np.int64]"
    ) -> "NDArray[np.float64]":
        pairs = pd.DataFrame({"request_id": asked, "query": queries, "position": positions})
        return click.predict(answers.features(pairs).to_numpy(np.float32))

    return reweighted(shown, log["hint_rankings"], answers.rankings, predict, settings.exposure)


def summarize(
    scores: pd.DataFrame, variety: pd.DataFrame, seed: int
) -> dict[str, dict[str, dict[str, float]]]:
    """arm -> metric -> mean, low, high (95% bootstrap over users), n; distinct_queries is a count
    over all users, which has no interval: its bounds are itself."""
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
    for arm, count, users in variety.itertuples(index=False):
        whole = dict.fromkeys(("mean", "low", "high"), float(count))
        results[arm]["distinct_queries"] = whole | {"n": float(users)}
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


def classic_slice(settings: "Settings") -> ClassicSlice:
    return ClassicSlice(
        seed=settings.seed,
        holdout=settings.samples.holdout,
        history_lines=settings.samples.history_lines,
        list_length=settings.generation.list_length,
        own_brand=settings.ctr.own_brand,
        candidates=settings.recall.candidates,
    )


def judging(settings: "Settings") -> Judging:
    return Judging(
        **dict(classic_slice(settings)), limits=settings.think.limits, writing=writing(settings)
    )


JUDGED: tuple[Read, ...] = (
    Logs("before", BEHAVIOUR_TABLES, before),
    Logs("profiles", ("users",), profiles_before),
    Logs("today", (*BEHAVIOUR_TABLES, "hint_rankings"), today),
    Release("categories"),
    Release("item-texts"),
    Truth(),
)

# What `classic_lists` reads beside that; before the first policies there are no lists of theirs.
STACKED: tuple[Read, ...] = (
    *(Release("recall"), Release("ctr")),
    *(Release(kind, optional=True) for kind in WRITTEN),
)

RIVALS = Stage(
    name="rivals",
    needs=("s3",),
    reads=(
        Result("ctr"),
        *(Release(kind) for kind in ("direct", "sft", "think")),
        WeekAgo(),
        *STACKED,
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
    settings=lambda settings: EvaluateSlice(**dict(judging(settings)), exposure=settings.exposure),
    compute=compute,
).reading(*map(Release, RANKED))
