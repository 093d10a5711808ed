"""Stage `market`: land one day of the canonical event log, replayed from real baskets.

Before the launch day only searches and item clicks happen. From the launch day on, home-page
requests are served by the release that was live, and its exposures, propensities and clicks are
logged together with the features that the click model saw (logged at serving time, so training
and serving can never disagree).
"""

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

import pandas as pd

from aigq_tasks.errors import AigqError, OutsideTheLog
from aigq_tasks.logs.schema import REFERS_TO, empty
from aigq_tasks.logs.validation import check_rows
from aigq_tasks.settings import LogSettings
from aigq_tasks.stages.context import Context
from aigq_tasks.stages.reading import (
    first_log_day,
    launch_day,
    live_entry,
    log_window,
    need,
    read_logs,
    record,
    release_digest,
    table,
    window_digest,
)
from aigq_tasks.stages.runner import StageOutput, run_stage
from aigq_tasks.storage.canonical import to_json
from aigq_tasks.storage.manifests import Manifest
from aigq_tasks.storage.tables import to_parquet


class MarketStage:
    """logs(D): the replayed day as Parquet, quarantined rows aside."""

    name = "market"
    needs: tuple[str, ...] = ("s3", "mlflow")

    def inputs(self, ctx: Context, day: date) -> dict[str, str]:
        _check_day(ctx, day)
        if day < launch_day(ctx):
            return {}
        window = log_window(ctx, day - timedelta(days=1))
        return {"logs": window_digest(window), "release": release_digest(live_entry(ctx, day))}

    def config(self, ctx: Context) -> dict[str, Any]:
        return {"seed": ctx.settings.seed, **ctx.settings.market.model_dump()}

    def compute(self, ctx: Context, day: date) -> StageOutput:
        from aigq_tasks.market.visits import search_clicks, searches_and_clicks, visits_between

        settings, seed = ctx.settings.market, ctx.settings.seed
        visits = visits_between(day, day, settings, seed)
        searches, clicks = searches_and_clicks(visits, settings, seed)
        found = search_clicks(visits, settings, seed)
        landed = {"searches": searches, "item_clicks": clicks, "search_clicks": found}
        households = _identities(visits.visits, settings, seed)
        extra: dict[str, bytes] = {}
        if day >= launch_day(ctx):
            hints, seen, extra = _hints(ctx, day)
            landed |= hints
            households = pd.concat([households, seen])
        landed |= _dimensions(households, pd.concat([clicks["item_id"], found["item_id"]]))
        return checked_log(landed, day, _shown_before(ctx, day), extra)


def _check_day(ctx: Context, day: date) -> None:
    first, last = first_log_day(ctx), date(2017, 12, 29)
    if not first <= day <= last:
        raise OutsideTheLog(
            f"{day} is outside the market's days {first}..{last} "
            "(first = bootstrap_day - launch_days - market.history_days)"
        )


def _identities(visits: pd.DataFrame, settings: Any, seed: int) -> pd.DataFrame:
    from aigq_tasks.market.visits import user_ids

    households = visits["household_id"].to_numpy()
    users = user_ids(households, visits["start"].to_numpy(), settings, seed)
    return pd.DataFrame({"user_id": users, "household_id": households})


def _dimensions(households: pd.DataFrame, item_ids: pd.Series) -> dict[str, pd.DataFrame]:
    from aigq_tasks.market.items import items_of
    from aigq_tasks.market.visits import profiles

    return {"users": profiles(households), "items": items_of(item_ids.unique())}


def _hints(
    ctx: Context, day: date
) -> tuple[dict[str, pd.DataFrame], pd.DataFrame, dict[str, bytes]]:
    """Serve the day's home-page requests with the live release and replay the clicks."""
    from aigq_tasks.market.replay import baskets_for, replay_clicks
    from aigq_tasks.market.visits import requests_on
    from aigq_tasks.recall.stack import Exposure, expose
    from aigq_tasks.stages.serving import load_release_stack

    settings, seed = ctx.settings.market, ctx.settings.seed
    requests = requests_on(day, settings, seed)
    entry = live_entry(ctx, day)
    stack = load_release_stack(ctx, entry, day)
    rankings = stack.rank(sorted(requests["user_id"].unique()))
    drawn = Exposure(settings.exploit_top, settings.exploit_temperature)
    exposures = expose(rankings, requests, drawn, seed).assign(release=entry.number)
    replayed = replay_clicks(exposures, requests, baskets_for(day, settings, seed), seed)
    shown = replayed.impressions
    features = stack.features(shown["user_id"], shown["query"], shown["position"])
    features["position"] = shown["position"]  # a feature too; whole numbers make it a key
    features.insert(0, "request_id", shown["request_id"].to_numpy())
    hints = {
        "hint_impressions": shown,
        "hint_rankings": rankings,
        "late_clicks": _late(ctx, day),
    }
    extra = {
        "impression_features.parquet": to_parquet(features),
        "late_next_day.parquet": to_parquet(replayed.late),
    }
    return hints, requests[["user_id", "household_id"]], extra


def _late(ctx: Context, day: date) -> pd.DataFrame:
    """Clicks on yesterday's hints that arrived after midnight: part of this day's log."""
    if day == launch_day(ctx):
        return empty("late_clicks")
    return table(ctx, need(ctx, "market", day - timedelta(days=1)), "late_next_day")


def _shown_before(ctx: Context, day: date) -> pd.DataFrame:
    """The impressions that a late click of `day` may belong to."""
    if day <= launch_day(ctx):
        return empty("hint_impressions")
    window = log_window(ctx, day - timedelta(days=1))
    return read_logs(ctx, window, ("hint_impressions",))["hint_impressions"]


def checked_log(
    landed: Mapping[str, pd.DataFrame],
    day: date,
    shown_before: pd.DataFrame,
    extra: Mapping[str, bytes],
) -> StageOutput:
    """The day's log as it is stored: the good rows of each table, beside them the others with
    their reasons (`quarantine/`), and how many there are of each. No row is lost.

    landed: table -> rows. shown_before: impressions of earlier days. extra: other files to store.
    """
    output: dict[str, bytes] = dict(extra)
    metrics: dict[str, float | str] = {}
    quarantine: dict[str, dict[str, int]] = {}
    good: dict[str, pd.DataFrame] = {}
    for name in sorted(landed, key=lambda name: (name in REFERS_TO, name)):
        known = None
        if name in REFERS_TO:
            shown = [shown_before, good.get("hint_impressions", empty("hint_impressions"))]
            known = pd.concat(shown) if name == "late_clicks" else good["searches"]
        checked = check_rows(name, landed[name], day, known)
        good[name] = checked.good
        output[f"{name}.parquet"] = to_parquet(checked.good)
        metrics[f"rows_{name}"] = float(len(checked.good))
        metrics[f"quarantined_{name}"] = float(len(checked.bad))
        if len(checked.bad):
            output[f"quarantine/{name}.parquet"] = to_parquet(checked.bad)
            quarantine[name] = checked.reasons
            for reason, rows in checked.reasons.items():
                metrics[f"quarantined_{name}/{reason}"] = float(rows)
    output["quarantine.json"] = to_json(quarantine)
    clicked = good.get("hint_impressions", empty("hint_impressions"))["clicked"]
    if len(clicked):
        metrics["clicks"] = float(clicked.sum())
        metrics["ctr"] = round(float(clicked.mean()), 6)
    return StageOutput(files=output, metrics=metrics)


def land(ctx: Context, day: date, stage: MarketStage) -> Manifest:
    """Run the stage; AigqError if too much of the day's log is bad.

    The day is stored and its counts are in MLflow before it fails, so nothing is lost and there is
    something to look at. It fails again until the source is mended (a new result) or the setting
    lets it pass.
    """
    manifest = run_stage(stage, ctx, day)
    excess = too_bad(manifest.metrics, ctx.settings.logs)
    if excess:
        counts = record(ctx, manifest, "quarantine.json")
        words = "; ".join(
            f"{name} {share:.1%} ({', '.join(f'{n} {why}' for why, n in counts[name].items())})"
            for name, share in excess.items()
        )
        raise AigqError(
            f"too many bad rows in the log of {day}: {words}; they are stored under quarantine/ of "
            f"the market result {manifest.digest[:8]}. Mend the source and land the day again, or "
            "let it pass with the settings logs.max_bad_share and logs.few_bad"
        )
    return manifest


def too_bad(metrics: Mapping[str, float | str], limits: LogSettings) -> dict[str, float]:
    """Tables with more bad rows than the limits allow -> the share of their rows that is bad."""
    prefix, found = "rows_", {}
    for name in sorted(key.removeprefix(prefix) for key in metrics if key.startswith(prefix)):
        good, bad = (float(metrics[f"{kind}_{name}"]) for kind in ("rows", "quarantined"))
        if bad > max(limits.few_bad, limits.max_bad_share * (good + bad)):
            found[name] = bad / (good + bad)
    return found
