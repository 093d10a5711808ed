"""The line behind a policy, by hand-made ledgers."""

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest
from pipeline.test_reads import moment

from aigq_tasks.errors import AigqError
from aigq_tasks.pipeline.lines import GO_BACK, Line, Start, WeekAgo, judged, line, start, week_ago
from aigq_tasks.pipeline.reads import Moment
from aigq_tasks.storage.ledger import Entry
from aigq_tasks.storage.manifests import Manifest

LAUNCH = date(2017, 11, 1)  # the bootstrap's release; release n is of n - 1 days later


def day(number: int) -> date:
    return LAUNCH + timedelta(days=number - 1)


def policy(number: int) -> Manifest:
    return Manifest(stage="policy", day=day(number))


def evaluation(number: int) -> Manifest:
    return Manifest(stage="evaluate", day=day(number))


def gate(number: int, back: Manifest | None = None) -> Manifest:
    metrics: dict[str, float | str] = {GO_BACK: back.digest} if back else {}
    return Manifest(stage="gate", day=day(number), metrics=metrics)


def entry(
    number: int, parent: int, serves: int | None = None, verdict: Any = "accepted", **more: Any
) -> Entry:
    """Release `number`, of its own day; serves: whose policy."""
    words: dict[str, Any] = dict.fromkeys(("code", "config", "who", "why"), "")
    of = more.pop("of", number)
    manifests = {"evaluate": evaluation(of).digest, "gate": gate(of).digest}
    return Entry(
        number=number,
        day=more.pop("day", day(number)),
        revision=1,
        parent=parent or None,
        verdict=verdict,
        manifests=more.pop("manifests", manifests),
        models={"direct": policy(serves or number).digest},
        **words,
    )


FIRST = entry(1, 0, verdict="bootstrap", manifests={})
DAILY = [FIRST, *(entry(number, number - 1) for number in range(2, 11))]


def at(known: list[Entry], head: Entry, of: date, *made: Manifest) -> Moment:
    results = [one(n) for one in (policy, evaluation, gate) for n in range(1, 15)]
    return replace(moment(*results, *made, day=of, parent=head), known=tuple(known))


def numbers(found: list[Entry]) -> list[int]:
    return [one.number for one in found]


def test_a_line_goes_by_parents_to_the_bootstrap() -> None:
    assert numbers(line(DAILY, DAILY[-1])) == [10, 9, 8, 7, 6, 5, 4, 3, 2, 1]
    assert line(DAILY, None) == []
    stack = replace(FIRST, models={"recall": "r"})  # of before the first policy
    assert line([stack], stack) == []


def test_what_served_before_a_rollback_is_on_no_line_behind_it() -> None:
    back = entry(11, 4, serves=4, verdict="rollback", day=day(10), of=4)
    after = entry(12, 11, day=day(11), of=11)
    known = [*DAILY, back, after]
    assert numbers(line(known, after)) == [12, 4, 3, 2, 1]
    assert numbers(judged(known, after, day(12))) == [12]
    # Right after it the days count up to the release that was gone back to.
    assert numbers(judged(known, back, day(9))) == [3, 4]


def test_what_an_update_that_started_anew_came_by() -> None:
    anew = entry(11, 6)
    assert numbers(line([*DAILY, anew], anew)) == [11, 6, 5, 4, 3, 2, 1]
    assert numbers(judged([*DAILY, anew], anew, day(12))) == [6, 11]


def test_of_a_day_the_last_release_counts_and_the_bootstrap_is_of_no_day() -> None:
    promoted = entry(11, 10, serves=3, verdict="promoted", day=day(10), of=10)
    found = judged([*DAILY, promoted], promoted, day(11))
    assert numbers(found) == [5, 6, 7, 8, 9, 11]
    assert numbers(judged(DAILY, DAILY[3], day(5))) == [2, 3, 4]


def test_a_recomputed_day_counts_by_its_release_on_the_shelf() -> None:
    anew = replace(entry(9, 8), number=-1, parent=8)
    later = replace(entry(10, 9), number=-2, parent=-1)
    assert numbers(line([*DAILY, anew, later], later))[:4] == [-2, -1, 8, 7]


def test_the_release_of_a_week_ago() -> None:
    assert week_ago(DAILY, DAILY[9], day(11)) == DAILY[3]
    assert week_ago(DAILY, DAILY[3], day(5)) == FIRST  # none is as old: the oldest
    missing = [one for one in DAILY if one.number != 4]
    jump = replace(DAILY[4], parent=3)  # no release of that day: the one before
    assert (
        week_ago([jump if own.number == 5 else own for own in missing], DAILY[9], day(11))
        == (DAILY[2])
    )
    resolved = WeekAgo().resolve(at(DAILY, DAILY[9], day(11)))
    assert resolved is not None
    assert resolved.digest == policy(4).digest
    with pytest.raises(AigqError, match="no release serves"):
        WeekAgo().resolve(moment(day=day(11)))


def test_the_days_behind_a_policy_and_what_was_released_with_them() -> None:
    found = Line().resolve(at(DAILY, DAILY[9], day(11)))
    assert found is not None
    expected = [one(number) for number in range(5, 11) for one in (evaluation, policy)]
    assert found.manifests == tuple(expected)
    assert Line().resolve(at(DAILY, FIRST, day(2))) is None
    assert (Line().key, Line(anew=True).key) == ("line of the champion", "line of the challenger")
    assert Line().upstream(at(DAILY, DAILY[9], day(11))) == []
    other = Line().resolve(at(DAILY, DAILY[8], day(11)))
    assert other is not None
    assert other.digest != found.digest


def lost(number: int, back: int, **more: Any) -> Entry:
    """A release whose day found its champion below an anchor, and rejected the challenger."""
    named = {"evaluate": evaluation(number).digest, "gate": gate(number, policy(back)).digest}
    return entry(number, number - 1, number - 1, "rejected", manifests=named, **more)


def test_an_update_starts_anew_where_the_verdict_of_the_day_before_says_so() -> None:
    verdict = gate(11, policy(6))
    stays = lost(11, back=6)
    now = at([*DAILY, stays], stays, day(12), verdict)
    assert start(now) == DAILY[5]
    read = Start().resolve(now)
    assert read is not None
    assert read.manifests == (policy(6),)
    anew = Line(anew=True).resolve(now)
    assert anew is not None
    assert anew.manifests == (evaluation(6), policy(6))
    champion = Line().resolve(now)
    assert champion is not None
    assert champion.manifests[-2:] == (evaluation(11), policy(10))


def test_it_goes_on_from_what_serves_where_somebody_or_the_gate_decided_otherwise() -> None:
    verdict = gate(11, policy(6))
    accepted = replace(lost(11, back=6), verdict="accepted", models={"direct": policy(11).digest})
    now = at([*DAILY, accepted], accepted, day(12), verdict)
    assert start(now) is None
    read = Start().resolve(now)
    assert read is not None
    assert read.manifests == (policy(11),)
    back = replace(lost(11, back=6), number=12, verdict="rollback", parent=8)
    assert start(at([*DAILY, back], back, day(12), verdict)) is None
    unknown = lost(11, back=13)  # of no release on the line
    assert start(at([*DAILY, unknown], unknown, day(12), gate(11, policy(13)))) is None
    assert start(moment(day=day(12))) is None
