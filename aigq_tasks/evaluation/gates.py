"""The gate: may a challenger take over from the champion? A pure function of their scores."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from aigq_tasks.evaluation.anchors import ANCHORS, AgainstAnchor
from aigq_tasks.evaluation.config import GateLimits, VarietyLimits
from aigq_tasks.evaluation.intervals import paired_bootstrap
from aigq_tasks.evaluation.offpolicy import Comparison

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ListScores:
    """What one arm's lists scored on the day, one float64 value per user.

    `query_hit` (of HR@30) is paired by user between the arms; the other two need not be.
    """

    query_hit: Values
    unique_categories: Values
    valid_list: Values


@dataclass(frozen=True)
class Variety:
    """Of one arm on the day. distinct: different queries in the first ten of all users together.
    near_duplicates: mean share of a list's first ten that repeat one above in other words."""

    distinct: int
    near_duplicates: float


@dataclass(frozen=True)
class Check:
    """A figure held against a floor (it may not be lower) or a limit (it may not be higher)."""

    name: str
    value: float
    floor: float | None = None
    limit: float | None = None

    @property
    def passed(self) -> bool:
        return (self.floor is None or self.value >= self.floor) and (
            self.limit is None or self.value <= self.limit
        )

    def to_dict(self) -> dict[str, float | str | bool]:
        bounds = {"floor": self.floor, "limit": self.limit}
        given = {name: bound for name, bound in bounds.items() if bound is not None}
        return {"name": self.name, "value": self.value, "passed": self.passed, **given}


@dataclass(frozen=True)
class Verdict:
    """`reasons` are the failed checks in words, or every check in words when all passed."""

    accepted: bool
    reasons: tuple[str, ...]
    checks: tuple[Check, ...]

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no blanks, no clock."""
        verdict = {
            "accepted": self.accepted,
            "reasons": list(self.reasons),
            "checks": [check.to_dict() for check in self.checks],
        }
        return json.dumps(verdict, sort_keys=True, separators=(",", ":"), allow_nan=False)


def decide(
    challenger: ListScores,
    champion: ListScores | None,
    ctr_faults: Sequence[str],
    limits: GateLimits,
    seed: int,
    users: Sequence[str] | None = None,
    alarms: Sequence[str] = (),
    clicks: Comparison | None = None,
    anchors: Sequence[AgainstAnchor] = (),
    variety: tuple[Variety, Variety] | None = None,
) -> Verdict:
    """Accept the challenger unless a check fails.

    - Query HR@30 is statistically worse: the 95 % interval of the paired difference lies below
      `-margin`; or its mean drop is larger than `max_drop`;
    - the valid-list rate is below `min_valid_rate`;
    - mean unique categories are below `min_diversity` times the champion's;
    - the CTR model is not sane: `ctr_faults` names what its own validation found;
    - something looks like reward hacking: `alarms` says what;
    - it would clearly have earned fewer clicks than production: the 95 % interval of the
      off-policy difference (`clicks`) lies below `-max_click_loss` of production's clicks per
      hint. An estimate that abstains is reported and rejects nothing;
    - over the last days together it lies below one of the `anchors`;
    - its first tens are not varied enough (`variety`: its own, and that of the anchor IL-SFT): too
      few different queries of all users together, or too many near-duplicates, by themselves or
      beside the anchor's;
    - fewer than `min_user_days` user-days were scored.

    `champion` is None for the first release: what compares with it is then not asked. `users`
    names the user of each `query_hit` value when users have several days, `seed` is that of the
    bootstrap. Raises AigqError when the arms' `query_hit` do not pair up.
    """
    findings = [_enough_user_days(challenger, limits)]
    if champion is not None and challenger.query_hit.size:
        findings += _query_hr(challenger, champion, users, limits, seed)
    findings.append(_valid_rate(challenger, limits))
    if champion is not None:
        findings.append(_diversity(challenger, champion, limits))
    findings += [_ctr_model(ctr_faults), _alarms(alarms)]
    if clicks is not None:
        findings.append(_clicks(clicks, limits))
    findings += [_anchor(one, limits) for one in anchors]
    if variety is not None:
        findings += _variety(*variety, limits.variety)

    checks = tuple(check for check, _ in findings)
    accepted = all(check.passed for check in checks)
    reasons = tuple(words for check, words in findings if accepted or not check.passed)
    return Verdict(accepted, reasons, checks)


def _enough_user_days(challenger: ListScores, limits: GateLimits) -> tuple[Check, str]:
    n = len(challenger.query_hit)
    check = Check("user_days", n, floor=limits.min_user_days)
    return check, f"scored user-days: {n}, {_versus(check)} {limits.min_user_days}"


def _query_hr(
    challenger: ListScores,
    champion: ListScores,
    users: Sequence[str] | None,
    limits: GateLimits,
    seed: int,
) -> list[tuple[Check, str]]:
    difference = paired_bootstrap(
        challenger.query_hit,
        champion.query_hit,
        users,
        seed=seed,
        resamples=limits.resamples,
    )
    arms = (
        f"challenger {challenger.query_hit.mean():.4f}, champion {champion.query_hit.mean():.4f}, "
        f"{difference.users} users"
    )
    worse = Check("query_hr_difference_high", difference.high, floor=0.0 - limits.margin)
    drop = Check("query_hr_difference", difference.mean, floor=0.0 - limits.max_drop)
    return [
        (
            worse,
            f"Query HR@30: 95 % interval of the difference [{difference.low:+.4f}, "
            f"{difference.high:+.4f}], upper end {_versus(worse)} {worse.floor:+.4f} ({arms})",
        ),
        (
            drop,
            f"Query HR@30: mean difference {difference.mean:+.4f}, "
            f"{_versus(drop)} {drop.floor:+.4f} ({arms})",
        ),
    ]


def _valid_rate(challenger: ListScores, limits: GateLimits) -> tuple[Check, str]:
    rate = _mean(challenger.valid_list)
    check = Check("valid_list_rate", rate, floor=limits.min_valid_rate)
    return check, f"valid lists: {rate:.4f}, {_versus(check)} {limits.min_valid_rate:.4f}"


def _diversity(
    challenger: ListScores, champion: ListScores, limits: GateLimits
) -> tuple[Check, str]:
    theirs = _mean(champion.unique_categories)
    check = Check(
        "unique_categories",
        _mean(challenger.unique_categories),
        floor=limits.min_diversity * theirs,
    )
    return check, (
        f"unique categories: {check.value:.2f}, {_versus(check)} {check.floor:.2f} "
        f"({limits.min_diversity:.2f} of the champion's {theirs:.2f})"
    )


def _ctr_model(faults: Sequence[str]) -> tuple[Check, str]:
    check = Check("ctr_model_faults", len(faults), limit=0)
    return check, f"CTR model: {'; '.join(faults) or 'no faults'}"


def _alarms(raised: Sequence[str]) -> tuple[Check, str]:
    check = Check("alarms", len(raised), limit=0)
    return check, f"reward hacking: {'; '.join(raised) or 'no alarm'}"


def _clicks(clicks: Comparison, limits: GateLimits) -> tuple[Check, str]:
    estimate, difference = clicks.estimate, clicks.difference
    worth = f"the log is worth {estimate.effective:.1f} of its {estimate.rows} hints"
    if difference is None:
        check = Check("offpolicy_effective", estimate.effective)
        return check, f"off-policy clicks: no estimate, {worth}, below {limits.min_effective:.1f}"
    check = Check(
        "offpolicy_click_difference_high",
        difference.high,
        floor=0.0 - limits.max_click_loss * clicks.production,
    )
    return check, (
        f"off-policy clicks per hint: {estimate.robust:.4f}, production {clicks.production:.4f}, "
        f"95 % interval of the difference [{difference.low:+.4f}, {difference.high:+.4f}], upper "
        f"end {_versus(check)} {check.floor:+.4f} (SNIPS {estimate.snips:.4f}; {worth})"
    )


def _anchor(found: AgainstAnchor, limits: GateLimits) -> tuple[Check, str]:
    called, name = ANCHORS[found.anchor], found.anchor.replace(" ", "_")
    if found.bounds is None:
        check = Check(f"anchor_{name}_users", found.users)
        least = limits.min_user_days
        return check, f"against {called}: no answer, users: {found.users}, below {least}"
    made = found.bounds
    check = Check(f"anchor_{name}_high", made.high, floor=0.0 - limits.anchors.margin)
    days = "day" if made.days == 1 else "days"
    return check, (
        f"against {called} over {made.days} {days}: Query HR@30 {made}, upper bound "
        f"{_versus(check)} {check.floor:+.4f} ({made.user_days} user-days of {made.users} users)"
    )


def _variety(
    challenger: Variety, anchor: Variety, limits: VarietyLimits
) -> list[tuple[Check, str]]:
    share = limits.min_distinct_share * anchor.distinct
    distinct = Check("distinct_queries", challenger.distinct, floor=max(limits.min_distinct, share))
    rise = anchor.near_duplicates + limits.max_near_duplicate_rise
    near = Check(
        "near_duplicates", challenger.near_duplicates, limit=min(limits.max_near_duplicates, rise)
    )
    beyond = "not above" if near.passed else "above"
    return [
        (
            distinct,
            f"different queries of all users: {challenger.distinct}, {_versus(distinct)} "
            f"{distinct.floor:.1f} (at least {limits.min_distinct}, and "
            f"{limits.min_distinct_share:.2f} of the {anchor.distinct} of IL-SFT)",
        ),
        (
            near,
            f"near-duplicates in the first ten: {near.value:.4f}, {beyond} {near.limit:.4f} (at "
            f"most {limits.max_near_duplicates:.2f}, and {limits.max_near_duplicate_rise:.2f} "
            f"more than the {anchor.near_duplicates:.4f} of IL-SFT)",
        ),
    ]


def _versus(check: Check) -> str:
    return "not below" if check.passed else "below"


def _mean(values: Values) -> float:
    return float(values.mean()) if values.size else 0.0
