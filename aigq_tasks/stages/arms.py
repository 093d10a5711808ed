"""The arms of an evaluation: what each one offers the held-out users, and how that is scored.

Truth is what a held-out user searched or clicked among the hints on D. Every arm sees that user's
behaviours before D only; the classic sources and the click model are those of the release that
served D, and the challenger was trained without any row of a held-out user's D (see
`samples.holdout`). So no label leaks into any arm.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from aigq_tasks.context.prompt import Shopper
from aigq_tasks.logs.behaviours import hint_clicks
from aigq_tasks.samples.holdout import held_out
from aigq_tasks.stages.context import Context
from aigq_tasks.stages.generation import generate, generate_reasoned, shoppers_at
from aigq_tasks.stages.reading import (
    BEHAVIOUR_TABLES,
    live_entry,
    log_window,
    model,
    need,
    read_behaviours,
    read_logs,
    read_users,
    table,
)
from aigq_tasks.stages.serving import classic_sources, classifier, ctr_scorer
from aigq_tasks.storage.manifests import Manifest

if TYPE_CHECKING:
    from aigq_tasks.recall.stack import Scorer

COLD_EVENTS = 10  # a user with fewer behaviours before the day is cold
Truth = dict[str, set[str]]
Lists = dict[str, list[str]]


@dataclass(frozen=True)
class Case:
    """What a day's evaluation asks: the truth per user, and what is known before the day."""

    truth: Truth
    shoppers: list[Shopper]
    history: pd.DataFrame


def held_out_case(ctx: Context, day: date, everybody: bool = False, titled: bool = False) -> Case:
    """The held-out users of `day` (or all, where the compared models never saw the day), the
    items of their histories called by their texts, or by their titles."""
    logs = read_logs(ctx, [need(ctx, "market", day)], BEHAVIOUR_TABLES)
    truth = truth_of_day(logs, day)
    if not everybody:
        share, seed = ctx.settings.samples.holdout, ctx.settings.seed
        kept = held_out(truth, day, share, seed)
        truth = {user: queries for user, queries in truth.items() if user in kept}
    before = log_window(ctx, day - timedelta(days=1))
    history = read_behaviours(ctx, before, None if titled else day)
    profiles = read_users(ctx, before[-28:])
    return Case(truth, shoppers_at(ctx, truth, profiles, history, day), history)


def truth_of_day(logs: dict[str, pd.DataFrame], day: date) -> Truth:
    """user -> normalised queries that the user searched, or clicked among the hints, on `day`."""
    from aigq_tasks.context.queries import normalize

    clicks = hint_clicks(logs)
    today = clicks["click_time"].dt.date == day
    asked = [logs["searches"][["user_id", "query"]], clicks.loc[today, ["user_id", "query"]]]
    truth: Truth = {}
    for user, query in pd.concat(asked).itertuples(index=False):
        truth.setdefault(user, set()).add(normalize(query))
    return dict(sorted(truth.items()))


def policy_lists(
    ctx: Context, policies: Mapping[str, Manifest], case: Case
) -> tuple[dict[str, Lists], dict[str, dict[str, bool]]]:
    """arm -> user -> list, and arm -> user -> was it well-formed; a policy that stands for two
    arms writes once."""
    written = {
        digest: generate(ctx, manifest, case.shoppers)
        for digest, manifest in {m.digest: m for m in policies.values()}.items()
    }
    made = {arm: written[manifest.digest] for arm, manifest in policies.items()}
    return {arm: m.lists for arm, m in made.items()}, {arm: m.valid for arm, m in made.items()}


def written_lists(
    ctx: Context, case: Case, direct: Mapping[str, Manifest], think: Mapping[str, Manifest]
) -> tuple[dict[str, Lists], dict[str, dict[str, bool]]]:
    """`policy_lists` of stored policies of either variant."""
    lists, valid = policy_lists(ctx, direct, case)
    for arm, policy in think.items():
        reasoned = generate_reasoned(ctx, policy, case.shoppers)
        lists[arm], valid[arm] = reasoned.lists, reasoned.valid
    return lists, valid


def score_policies(
    ctx: Context,
    day: date,
    case: Case,
    lists: dict[str, Lists],
    valid: dict[str, dict[str, bool]],
    classic: Mapping[str, Lists],
) -> pd.DataFrame:
    """`score_arms` of what policies wrote, with their `behaviour_scores` by the day's click
    model; of the classic arms without."""
    scores = score_arms(ctx, day, case, {**classic, **lists}, valid)
    scorer = ctr_scorer(ctx, live_entry(ctx, day), need(ctx, "ctr", day), day)
    return scores.merge(behaviour_scores(case, lists, scorer), "left", ["arm", "user_id"])


def classic_lists(ctx: Context, day: date, case: Case) -> dict[str, Lists]:
    """Arms that no policy writes: the recall sources of the release that served the day, and
    what its whole stack ranked ("production")."""
    users, k = sorted(case.truth), ctx.settings.generation.list_length
    sources = classic_sources(ctx, model(ctx, live_entry(ctx, day), "recall"))
    lists: dict[str, Lists] = {}
    for name, source in sources.items():
        found = source.recall(users, case.history, pd.Timestamp(day), k)
        lists[name] = {user: [query for query, _ in found[user]] for user in users}
    ranked = table(ctx, need(ctx, "market", day), "hint_rankings").sort_values(["user_id", "rank"])
    stack = ranked.groupby("user_id")["query"].agg(list)
    lists["production"] = {user: stack.get(user, []) for user in users}
    return lists


def score_arms(
    ctx: Context,
    day: date,
    case: Case,
    lists: dict[str, Lists],
    valid: dict[str, dict[str, bool]],
) -> pd.DataFrame:
    """One row per (arm, user): query_hr_10, query_hr_30, cate_hr_30, sem_sim, unique_cates,
    valid, true_click (market only), and query_hr_30 within each segment (NaN outside of it)."""
    from aigq_tasks.evaluation import encoder, metrics

    classify = classifier(ctx, live_entry(ctx, day)).classify
    embed = encoder.SentenceEncoder()
    moment = pd.Timestamp(day)
    segments = metrics.need_segments(case.truth, case.history, moment) | metrics.user_segments(
        case.truth, case.history, moment, min_events=COLD_EVENTS
    )
    users = metrics.scored_users(case.truth)
    frames = []
    for arm in sorted(lists):
        own = {user: lists[arm].get(user, []) for user in users}
        frame = pd.DataFrame(
            {
                "arm": arm,
                "user_id": users,
                "query_hr_10": metrics.query_hit(own, case.truth, 10),
                "query_hr_30": metrics.query_hit(own, case.truth, 30),
                "cate_hr_30": metrics.category_hit(own, case.truth, 30, classify),
                "sem_sim": metrics.semantic_similarity(own, case.truth, 30, embed),
                "unique_cates": metrics.unique_categories(own, 30, classify),
                "valid": _valid(users, own, valid.get(arm)),
            }
        )
        for name, truth in sorted(segments.items()):
            inside = pd.Series(metrics.query_hit(own, truth, 30), metrics.scored_users(truth))
            frame[f"query_hr_30/{name}"] = frame["user_id"].map(inside).astype("float64")
        frame["true_click"] = frame["user_id"].map(_true_clicks(ctx, day, own)).astype("float64")
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def behaviour_scores(case: Case, lists: Mapping[str, Lists], scorer: "Scorer") -> pd.DataFrame:
    """arm, user_id, and what the alarms look at (see `evaluation.alarms`): proxy (mean predicted
    click probability of the first ten queries), length, copied, off_catalogue."""
    known = set(case.history["content"])
    own = {one.user_id: {line.content for line in one.lines} for one in case.shoppers}
    written = [
        (arm, user, of_users.get(user, []))
        for arm, of_users in sorted(lists.items())
        for user in sorted(case.truth)
    ]
    pairs = sorted({(user, query) for _, user, queries in written for query in queries[:10]})
    scores = scorer([u for u, _ in pairs], [q for _, q in pairs]) if pairs else np.empty(0)
    clicks = dict(zip(pairs, scores.tolist(), strict=True))
    return pd.DataFrame(
        [
            {
                "arm": arm,
                "user_id": user,
                "proxy": float(np.mean([clicks[user, query] for query in queries[:10]] or [0.0])),
                "length": float(len(queries)),
                "copied": sum(query in own[user] for query in queries) / max(1, len(queries)),
                "off_catalogue": sum(q not in known for q in queries) / max(1, len(queries)),
            }
            for arm, user, queries in written
        ]
    )


def _valid(users: list[str], lists: Lists, written: dict[str, bool] | None) -> Any:
    """A list may be served: the policy wrote it well-formed, and every query of it is allowed."""
    from aigq_tasks.evaluation.metrics import valid_list

    servable = valid_list({user: lists[user] for user in users}, 1)
    if written is None:
        return servable
    return servable * np.array([written.get(user, False) for user in users], dtype=np.float64)


def _true_clicks(ctx: Context, day: date, lists: Lists) -> dict[str, float]:
    from aigq_tasks.market.oracle import baskets_of_users, true_click_means

    baskets = baskets_of_users(day, ctx.settings.market, ctx.settings.seed)
    return true_click_means(lists, baskets, ctx.settings.seed)
