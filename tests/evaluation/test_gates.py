import json

import numpy as np
import pytest

from aigq_tasks.errors import AigqError
from aigq_tasks.evaluation.anchors import AgainstAnchor, Bounds
from aigq_tasks.evaluation.config import AnchorLimits, GateLimits, VarietyLimits
from aigq_tasks.evaluation.gates import Check, ListScores, Variety, decide
from aigq_tasks.evaluation.intervals import PairedDifference
from aigq_tasks.evaluation.offpolicy import Comparison, Estimate

SEED = 0
VARIETY = VarietyLimits(min_distinct_share=0.7, max_near_duplicate_rise=0.1)
LIMITS = GateLimits(
    margin=0.01, max_drop=0.03, min_valid_rate=0.95, min_diversity=0.8, variety=VARIETY
)


def scores(hits: int, users: int = 1000, categories: float = 10.0, valid: int = 1000) -> ListScores:
    """`hits` of `users` hit (the first ones), `valid` of 1,000 lists valid."""
    return ListScores(
        query_hit=(np.arange(users) < hits).astype(np.float64),
        unique_categories=np.full(users, categories),
        valid_list=(np.arange(1000) < valid).astype(np.float64),
    )


def failed(verdict_checks: tuple[Check, ...]) -> list[str]:
    return [check.name for check in verdict_checks if not check.passed]


def test_an_equal_challenger_is_accepted_with_every_figure() -> None:
    verdict = decide(scores(400), scores(400), [], LIMITS, SEED)
    assert verdict.accepted
    assert [check.name for check in verdict.checks] == [
        "user_days",
        "query_hr_difference_high",
        "query_hr_difference",
        "valid_list_rate",
        "unique_categories",
        "ctr_model_faults",
        "alarms",
    ]
    assert len(verdict.reasons) == len(verdict.checks)


def test_a_small_but_certain_loss_is_statistically_worse() -> None:
    # 20 of 1,000 users lose their hit: difference -0.02, standard error sqrt(.02 * .98 / 1000)
    # = 0.0044, upper limit about -0.02 + 1.96 * 0.0044 = -0.011 < -margin; the cap is not reached.
    verdict = decide(scores(380), scores(400), [], LIMITS, SEED)
    assert not verdict.accepted
    assert failed(verdict.checks) == ["query_hr_difference_high"]
    high = verdict.checks[1].value
    assert high == pytest.approx(-0.0113, abs=0.0012)
    (reason,) = verdict.reasons
    assert f"{high:+.4f}" in reason
    assert "challenger 0.3800, champion 0.4000" in reason


def test_the_same_loss_within_a_wider_margin_is_accepted() -> None:
    wide = GateLimits(margin=0.02, max_drop=0.03, min_valid_rate=0.95)
    assert decide(scores(380), scores(400), [], wide, SEED).accepted


def test_an_uncertain_but_large_drop_meets_the_hard_cap() -> None:
    # 40 users: 2 lose, 0 gain; difference -0.05, and 13 % of resamples draw neither loser
    # (0.95 ** 40), so the upper limit is 0 while the mean is beyond -0.03.
    verdict = decide(scores(14, users=40), scores(16, users=40), [], LIMITS, SEED)
    assert failed(verdict.checks) == ["query_hr_difference"]
    assert verdict.checks[1].value == 0.0
    assert verdict.checks[2].value == pytest.approx(-0.05)


def test_a_better_challenger_is_accepted() -> None:
    assert decide(scores(450), scores(400), [], LIMITS, SEED).accepted


def test_valid_list_floor_is_inclusive() -> None:
    assert decide(scores(400, valid=950), scores(400), [], LIMITS, SEED).accepted
    verdict = decide(scores(400, valid=949), scores(400), [], LIMITS, SEED)
    assert failed(verdict.checks) == ["valid_list_rate"]
    assert verdict.reasons == ("valid lists: 0.9490, below 0.9500",)


def test_diversity_is_relative_to_the_champion() -> None:
    # floor = 0.8 * 10 = 8
    assert decide(scores(400, categories=8.0), scores(400), [], LIMITS, SEED).accepted
    verdict = decide(scores(400, categories=7.9), scores(400), [], LIMITS, SEED)
    assert failed(verdict.checks) == ["unique_categories"]
    assert verdict.reasons == (
        "unique categories: 7.90, below 8.00 (0.80 of the champion's 10.00)",
    )


def test_an_alarm_is_enough_to_reject() -> None:
    verdict = decide(scores(400), scores(400), [], LIMITS, SEED, alarms=["the history is copied"])
    assert failed(verdict.checks) == ["alarms"]
    assert verdict.reasons == ("reward hacking: the history is copied",)


def clicks(high: float, effective: float = 900.0) -> Comparison:
    """Production has 0.1 clicks per hint; the upper end of the difference is `high`."""
    difference = PairedDifference(high - 0.01, high - 0.02, high, 0.5, 40)
    return Comparison(Estimate(0.09, 0.1 + high - 0.01, effective, 1000), 0.1, difference)


def test_a_challenger_that_would_clearly_lose_clicks_is_rejected() -> None:
    # The floor: 0.05 of 0.1 clicks per hint.
    assert decide(scores(400), scores(400), [], LIMITS, SEED, clicks=clicks(-0.005)).accepted
    verdict = decide(scores(400), scores(400), [], LIMITS, SEED, clicks=clicks(-0.006))
    assert failed(verdict.checks) == ["offpolicy_click_difference_high"]
    assert verdict.reasons == (
        "off-policy clicks per hint: 0.0840, production 0.1000, 95 % interval of the difference "
        "[-0.0260, -0.0060], upper end below -0.0050 (SNIPS 0.0900; the log is worth 900.0 of its "
        "1000 hints)",
    )


def test_an_estimate_that_abstains_rejects_nothing_and_says_why() -> None:
    abstains = Comparison(Estimate(None, None, 12.34, 1000), 0.1, None)
    verdict = decide(scores(400), scores(400), [], LIMITS, SEED, clicks=abstains)
    assert verdict.accepted
    assert verdict.reasons[-1] == (
        "off-policy clicks: no estimate, the log is worth 12.3 of its 1000 hints, below 200.0"
    )


def test_ctr_faults_are_passed_on() -> None:
    verdict = decide(scores(400), scores(400), ["AUC 0.49 below 0.55", "ECE 0.2"], LIMITS, SEED)
    assert failed(verdict.checks) == ["ctr_model_faults"]
    assert verdict.reasons == ("CTR model: AUC 0.49 below 0.55; ECE 0.2",)


def test_the_first_release_has_no_champion_but_floors() -> None:
    assert decide(scores(0), None, [], LIMITS, SEED).accepted
    verdict = decide(scores(0, valid=10), None, ["no clicks"], LIMITS, SEED)
    assert failed(verdict.checks) == ["valid_list_rate", "ctr_model_faults"]


@pytest.mark.parametrize("users", [0, 29])
def test_too_few_user_days_prove_nothing(users: int) -> None:
    verdict = decide(scores(9, users=users), scores(9, users=users), [], LIMITS, SEED)
    assert "user_days" in failed(verdict.checks)
    assert verdict.reasons[0] == f"scored user-days: {users}, below 30"


def test_days_of_one_user_are_clustered() -> None:
    # Ten users with 100 days each: one user of ten loses 20 hits. By user the loss is one
    # accident in ten (the upper limit is 0); by day it would look certain.
    challenger, champion = scores(380), scores(400)
    users = [f"u{i // 100}" for i in range(1000)]
    assert decide(challenger, champion, [], LIMITS, SEED, users).accepted
    assert not decide(challenger, champion, [], LIMITS, SEED).accepted


def test_arms_that_do_not_pair_up_are_an_error() -> None:
    with pytest.raises(AigqError, match="same truth"):
        decide(scores(400, users=999), scores(400), [], LIMITS, SEED)


def test_json_is_canonical() -> None:
    verdict = decide(scores(400), scores(400), ["stale"], GateLimits(), SEED)
    text = verdict.to_json()
    again = decide(scores(400), scores(400), ["stale"], GateLimits(), SEED).to_json()
    assert text == again
    parsed = json.loads(text)
    assert text == json.dumps(parsed, sort_keys=True, separators=(",", ":"))
    assert parsed["accepted"] is False
    assert parsed["reasons"] == ["CTR model: stale"]
    assert parsed["checks"][-2] == {
        "limit": 0,
        "name": "ctr_model_faults",
        "passed": False,
        "value": 1,
    }
    assert parsed["checks"][0] == {"floor": 30, "name": "user_days", "passed": True, "value": 1000}


def beside(anchor: str, high: float, users: int = 700) -> AgainstAnchor:
    made = Bounds(high - 0.04, high - 0.08, high, 2 * users, users, 7) if users >= 30 else None
    return AgainstAnchor(anchor, users, made, high < 0)


def test_slow_loss_against_an_anchor_rejects_and_says_over_what() -> None:
    anchors = [beside("sft", 0.001), beside("week ago", -0.001)]
    verdict = decide(scores(400), scores(400), [], LIMITS, SEED, anchors=anchors)
    assert failed(verdict.checks) == ["anchor_week_ago_high"]
    assert verdict.reasons == (
        "against the release of a week ago over 7 days: Query HR@30 -0.0410 [-0.0810, -0.0010], "
        "upper bound below +0.0000 (1400 user-days of 700 users)",
    )
    allowed = LIMITS.model_copy(update={"anchors": AnchorLimits(margin=0.001)})
    assert decide(scores(400), scores(400), [], allowed, SEED, anchors=anchors).accepted


def test_too_few_users_for_an_anchor_reject_nothing() -> None:
    verdict = decide(scores(400), scores(400), [], LIMITS, SEED, anchors=[beside("sft", -1, 29)])
    assert verdict.accepted
    assert verdict.reasons[-1] == "against IL-SFT: no answer, users: 29, below 30"


@pytest.mark.parametrize(
    ("challenger", "anchor", "wrong"),
    [
        (Variety(70, 0.30), Variety(100, 0.20), []),  # both at their bounds beside the anchor
        (Variety(69, 0.30), Variety(100, 0.20), ["distinct_queries"]),
        (Variety(29, 0.10), Variety(30, 0.10), ["distinct_queries"]),  # 0.7 of 30 would do
        (Variety(90, 0.31), Variety(100, 0.20), ["near_duplicates"]),
        (Variety(90, 0.71), Variety(100, 0.69), ["near_duplicates"]),  # a rise of 0.02 would do
    ],
)
def test_variety_has_a_floor_of_its_own_and_one_beside_the_anchor(
    challenger: Variety, anchor: Variety, wrong: list[str]
) -> None:
    pair = (challenger, anchor)
    verdict = decide(scores(400), scores(400), [], LIMITS, SEED, variety=pair)
    assert failed(verdict.checks) == wrong


def test_variety_in_words() -> None:
    pair = (Variety(69, 0.31), Variety(100, 0.2))
    verdict = decide(scores(400), scores(400), [], LIMITS, SEED, variety=pair)
    assert verdict.reasons == (
        "different queries of all users: 69, below 70.0 (at least 30, and 0.70 of the 100 of "
        "IL-SFT)",
        "near-duplicates in the first ten: 0.3100, above 0.3000 (at most 0.70, and 0.10 more than "
        "the 0.2000 of IL-SFT)",
    )
