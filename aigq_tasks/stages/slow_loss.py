"""What the gate asks of the last days together: do challenger and champion lie below an anchor?

Of an earlier day counts what was released with it: its challenger where that was accepted, else
its champion, by the evaluation of that day, on the users that were held out then.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from aigq_tasks.evaluation.anchors import ANCHORS, AgainstAnchor, Pool, against_anchors, best
from aigq_tasks.evaluation.arms import scores_of
from aigq_tasks.evaluation.config import GateLimits
from aigq_tasks.pipeline.given import Given, Stored
from aigq_tasks.pipeline.lines import WEEK_AGO
from aigq_tasks.stages.evaluate import FIXED, POLICIES

METRIC = "query_hr_30"
SIDES = ("challenger", "champion")


@dataclass(frozen=True)
class Judged:
    """A day of a line. scores: of its evaluation. policies: arm -> digest of its policy. served:
    the one that counts for the day."""

    scores: pd.DataFrame
    policies: Mapping[str, str]
    served: str

    def differences(self, policy: str, anchor: str) -> "pd.Series[float]":
        """METRIC of the policy minus that of the arm `anchor`, by user; empty where the day did
        not score both."""
        arms = [arm for arm, of in sorted(self.policies.items()) if of == policy]
        if not arms or anchor not in self.policies:
            return pd.Series(dtype="float64")
        own, other = (
            scores_of(self.scores, arm).set_index("user_id")[METRIC] for arm in (arms[0], anchor)
        )
        return (own - other).dropna()


@dataclass(frozen=True)
class SlowLoss:
    """Both beside each anchor. go_back_to: digest of the policy that the next update starts from
    if the champion stays, and go_back_day its day; "" where the champion lies below no anchor."""

    challenger: Sequence[AgainstAnchor]
    champion: Sequence[AgainstAnchor]
    go_back_to: str = ""
    go_back_day: str = ""

    def metrics(self) -> dict[str, float]:
        """The champion's figures, which `aigq report` shows day by day."""
        return {
            f"{one.anchor.replace(' ', '_')}/{name}": float(getattr(one.bounds, name))
            for one in self.champion
            if one.bounds
            for name in ("mean", "low", "high", "user_days")
        }

    def words(self) -> list[str]:
        """What there is to say of the champion; [] where it lies below no anchor."""
        said = [
            f"the champion lies below {ANCHORS[one.anchor]}: Query HR@30 {one.bounds}"
            for one in self.champion
            if one.below
        ]
        if self.go_back_to:
            said.append(
                "unless the day's challenger takes its place, the next update starts from the "
                f"policy of {self.go_back_day}"
            )
        return said

    def record(self) -> dict[str, Any]:
        """As JSON."""
        sides = {side: [asdict(one) for one in getattr(self, side)] for side in SIDES}
        back = {"policy": self.go_back_to, "day": self.go_back_day} if self.go_back_to else None
        return {**sides, "go_back_to": back, "words": self.words()}


def slow_loss(given: Given, evaluation: Stored, limits: GateLimits) -> SlowLoss:
    """Challenger and champion of the day beside each anchor, over the days of their lines and this
    one; and where to go back to if the champion lies below one."""
    today = evaluation.record(POLICIES)
    arms = {arm: own["digest"] for arm, own in today.items()}
    made = {own["digest"]: own["day"] for own in today.values()}  # digest -> day of the policy
    now = evaluation.table("scores")
    days = {}
    for side in SIDES:
        behind = given.line(f"line of the {side}")
        made |= {policy.digest: policy.day.isoformat() for _, policy in behind}
        earlier = [_judged(scored, policy.digest) for scored, policy in behind]
        days[side] = [*earlier, Judged(now, arms, arms[side])]
    challenger, champion = (beside_anchors(days[side], limits) for side in SIDES)
    found = SlowLoss(challenger, champion)
    if not any(one.below for one in found.champion):
        return found
    # A policy that was rejected is no candidate.
    served = {day.served for day in days["champion"]}
    candidates = {arms[FIXED], arms[WEEK_AGO], *served} - {arms["champion"]}
    back = go_back_to(days["champion"], sorted(candidates, key=lambda one: (made[one], one)))
    return replace(found, go_back_to=back, go_back_day=made.get(back, ""))


def beside_anchors(days: Sequence[Judged], limits: GateLimits) -> list[AgainstAnchor]:
    """What served on each of the days, all days together, beside each anchor."""
    served = [(day, day.served) for day in days]
    pools = [(anchor, pooled(served, anchor)) for anchor in ANCHORS]
    return against_anchors(pools, limits.anchors, limits.min_user_days)


def _judged(evaluation: Stored, served: str) -> Judged:
    arms = {arm: own["digest"] for arm, own in evaluation.record(POLICIES).items()}
    return Judged(evaluation.table("scores"), arms, served)


def pooled(days: Sequence[tuple[Judged, str]], anchor: str) -> Pool:
    """Each day's policy, by its digest, minus the arm `anchor`, over all the days."""
    of_days = [day.differences(policy, anchor) for day, policy in days]
    found = [differences for differences in of_days if len(differences)]
    together = pd.concat(found) if found else pd.Series(dtype="float64")
    values = np.asarray(together, dtype=np.float64)
    return Pool(values, [str(user) for user in together.index], len(found))


def go_back_to(days: Sequence[Judged], candidates: Sequence[str]) -> str:
    """The best of the policies by all days that scored it, beside IL-SFT; "" where none was."""
    pools = [(one, pooled([(day, one) for day in days], FIXED)) for one in candidates]
    known = [(one, pool) for one, pool in pools if len(pool.differences)]
    return best(known) if known else ""
