"""The gate over several days, on real S3: evaluations and a ledger made by hand."""

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from small_release import store_files

from aigq_tasks.evaluation.reweighting import NUMBERS
from aigq_tasks.pipeline.context import Context
from aigq_tasks.pipeline.lines import GO_BACK, start
from aigq_tasks.pipeline.runner import files_of, given_for
from aigq_tasks.pipeline.stage import Output
from aigq_tasks.stages.evaluate import POLICIES
from aigq_tasks.stages.gate import GATE
from aigq_tasks.storage.canonical import to_json
from aigq_tasks.storage.ledger import Entry
from aigq_tasks.storage.manifests import Manifest
from aigq_tasks.storage.tables import to_parquet

pytestmark = pytest.mark.integration
LAUNCH = date(2017, 11, 5)
USERS = 200  # another 200 each day
GOOD = 100  # of them IL-SFT hits
LIKE = {"unique_cates": 10.0, "valid": 1.0, "near_duplicates": 0.1, "proxy": 0.1, "length": 9.0}


def day(number: int) -> date:
    return LAUNCH + timedelta(days=number)


class World:
    """A ledger whose day n is n days after the bootstrap. hits: digest of a policy -> how many of
    a day's users it hits, and with whom it begins."""

    def __init__(self, ctx: Context) -> None:
        self.ctx = ctx
        self.sft = store_files(ctx, "sft", LAUNCH, {"weights": b"sft"})
        self.made = {0: self.sft}
        self.hits = {self.sft.digest: (GOOD, 0)}
        models = {"direct": self.sft.digest, "sft": self.sft.digest}
        self.head = self._append(0, models, "bootstrap", {}, None)

    def judge(self, number: int, hits: int, begins: int, users: int = USERS) -> Output:
        """Train a challenger that hits so many, evaluate the day, and run its gate."""
        made = store_files(self.ctx, "policy", day(number), {"weights": str(number).encode()})
        self.made[number], self.hits[made.digest] = made, (hits, begins)
        arms = {"challenger": made, "sft": self.sft, "week ago": self.made[max(0, number - 7)]}
        arms["champion"] = self.ctx.manifests.get(self.head.models["direct"])
        named = {arm: {"digest": one.digest, "day": str(one.day)} for arm, one in arms.items()}
        scored = [self._scores(number, arm, one, users) for arm, one in arms.items()]
        counts = pd.DataFrame({"arm": list(arms)}).assign(distinct_queries=100, users=users)
        none = pd.DataFrame(columns=["user_id", *NUMBERS])
        tables = {"scores": pd.concat(scored), "variety": counts, "hints": none}
        files = {f"{name}.parquet": to_parquet(rows) for name, rows in tables.items()}
        store_files(self.ctx, "evaluate", day(number), files | {POLICIES: to_json(named)})
        sane = to_json({"auc": 0.7, "ece": 0.01})
        store_files(self.ctx, "ctr", day(number), {"next_day.json": sane})
        given = given_for(self.ctx, day(number), GATE.reads)
        return GATE.compute(given, GATE.settings(self.ctx.settings), day(number))

    def release(self, number: int, output: Output) -> dict[str, Any]:
        """Release what the verdict says, and return the verdict."""
        verdict: dict[str, Any] = output.records["verdict.json"]
        gate = store_files(self.ctx, "gate", day(number), files_of(output))
        told = replace(gate, metrics={**output.metrics, **output.tags})
        manifests = {"gate": self.ctx.manifests.create(told).digest}
        manifests["evaluate"] = self._head("evaluate", number).digest
        accepted = verdict["accepted"]
        served = {"direct": self.made[number].digest} if accepted else {}
        outcome = "accepted" if accepted else "rejected"
        anew = start(self.ctx.moment(day(number)))
        parent = anew if anew and accepted else self.head
        models = self.head.models | served
        self.head = self._append(number, models, outcome, manifests, parent.number)
        return verdict

    def _scores(self, number: int, arm: str, policy: Manifest, users: int) -> pd.DataFrame:
        hits, begins = self.hits[policy.digest]
        hit = np.roll(np.arange(USERS) < hits, begins)[:users].astype(float)
        rows = {"arm": arm, "user_id": [f"{number}-{n}" for n in range(users)], "query_hr_30": hit}
        return pd.DataFrame(rows).assign(**LIKE, copied=0.0, off_catalogue=0.0)

    def _head(self, stage: str, number: int) -> Manifest:
        found = self.ctx.manifests.head(stage, day(number))
        assert found is not None
        return found

    def _append(
        self, number: int, models: dict[str, str], verdict: Any, made: Any, parent: int | None
    ) -> Entry:
        words: dict[str, Any] = dict.fromkeys(("code", "config", "who", "why"), "test")
        words |= {"verdict": verdict, "manifests": made, "models": models, "parent": parent}
        return self.ctx.ledger.append(Entry(day=day(number), revision=1, **words))


@pytest.fixture
def world(ctx: Context) -> World:
    return World(ctx)


def failed(verdict: dict[str, Any]) -> list[str]:
    return [check["name"] for check in verdict["checks"] if not check["passed"]]


def test_a_loss_that_no_day_shows_is_stopped_and_the_next_update_starts_anew(world: World) -> None:
    # Each update loses 5 of 200 hits: 10 users lost, 5 won. A day's difference of -0.025 has a
    # standard error of sqrt(15 / 200 / 200) = 0.019, which the daily test lets pass.
    for number in (1, 2, 3):
        output = world.judge(number, GOOD - 5 * number, 10 * number)
        assert world.release(number, output)["accepted"]
    output = world.judge(4, GOOD - 20, 40)
    verdict = world.release(4, output)
    assert failed(verdict) == ["anchor_sft_high", "anchor_week_ago_high"]
    assert verdict["reasons"][0].startswith("against IL-SFT over 4 days: Query HR@30 -0.0625 [")
    # The champion does too, by what was released on three days and by itself on this one.
    assert output.metrics["champion/sft/mean"] == pytest.approx(-(5 + 10 + 15 + 15) / 800)
    (champion, _) = verdict["anchors"]["champion"]
    assert champion["bounds"]["user_days"] == champion["users"] == 800
    assert champion["below"]
    assert verdict["anchors"]["go_back_to"]["policy"] == world.sft.digest
    assert verdict["anchors"]["words"][-1] == (
        "unless the day's challenger takes its place, the next update starts from the policy of "
        "2017-11-05"
    )
    assert output.tags[GO_BACK] == world.sft.digest

    moment = world.ctx.moment(day(5))
    anew = start(moment)
    assert anew is not None
    assert anew.number == 1
    # Trained from IL-SFT, the challenger is judged without what the other line lost.
    output = world.judge(5, GOOD, 6)
    verdict = world.release(5, output)
    assert verdict["accepted"]
    assert [one["bounds"]["days"] for one in verdict["anchors"]["challenger"]] == [1, 1]
    assert [one["bounds"]["days"] for one in verdict["anchors"]["champion"]] == [5, 5]
    assert world.head.parent == 1
    # Its line is new: the next day knows one day behind it, and starts from what serves.
    assert start(world.ctx.moment(day(6))) is None
    verdict = world.release(6, world.judge(6, GOOD, 12))
    assert verdict["accepted"]
    assert [one["bounds"]["days"] for one in verdict["anchors"]["champion"]] == [2, 2]
    assert verdict["anchors"]["go_back_to"] is None


def test_the_best_of_the_line_is_gone_back_to(world: World) -> None:
    # The first update wins 30 hits, the second loses 20 of them. Then the daily test is out of
    # order, and the third loses more than all that was won.
    world.release(1, world.judge(1, GOOD + 30, 3))
    world.release(2, world.judge(2, GOOD + 10, 3))
    blind = world.ctx.settings.gate.model_copy(update={"max_drop": 1.0, "margin": 1.0})
    alarms = blind.alarms.model_copy(update={"hit": 1.0})
    blind = blind.model_copy(update={"alarms": alarms})
    world.ctx = replace(world.ctx, settings=world.ctx.settings.model_copy(update={"gate": blind}))
    found = []
    for number in (3, 4, 5):
        output = world.judge(number, GOOD - 40, 9)
        found.append(output.tags.get(GO_BACK))
        world.release(number, output)
    assert found == [None, None, world.made[1].digest]


def test_a_day_with_few_users_decides_nothing_and_holds_nobody_up(world: World) -> None:
    verdict = world.release(1, world.judge(1, GOOD, 0, users=20))
    assert failed(verdict) == ["user_days"]
    assert [one["bounds"] for one in verdict["anchors"]["challenger"]] == [None, None]
    verdict = world.release(2, world.judge(2, GOOD, 6))
    assert verdict["accepted"]
    # Day 1 counts by what was released with it: IL-SFT, beside itself.
    bounds = verdict["anchors"]["challenger"][0]["bounds"]
    assert (bounds["user_days"], bounds["days"]) == (220, 2)


def test_a_day_without_a_search_is_no_day_of_the_pool(world: World) -> None:
    world.release(1, world.judge(1, GOOD, 0, users=0))
    bounds = world.release(2, world.judge(2, GOOD, 6))["anchors"]["challenger"][0]["bounds"]
    assert (bounds["user_days"], bounds["days"]) == (200, 1)


def test_lists_that_are_less_varied_than_the_anchors_are_rejected(world: World) -> None:
    kept = dict(LIKE)
    try:
        LIKE["near_duplicates"] = 0.75
        verdict = world.release(1, world.judge(1, GOOD, 6))
    finally:
        LIKE.update(kept)
    assert failed(verdict) == ["near_duplicates"]
