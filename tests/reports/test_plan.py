"""`aigq plan` as it is printed: a line for each day, or one for each stage."""

from datetime import date

import pytest

from aigq_tasks.cli.printing import WIDE, print_plan
from aigq_tasks.releases.plan import PlannedStep
from aigq_tasks.reports.plan import day_rows, step_rows

FIRST, SECOND, THIRD = (date(2017, 11, day) for day in (6, 7, 8))
SETTING = "changed: setting limits.max_drop"
REMADE = f"it starts from the release of {FIRST}, which changes"
RELEASED = PlannedStep(SECOND, "publish", "goes live", release=True)
STEPS = [
    PlannedStep(FIRST, "logs", ""),
    PlannedStep(FIRST, "ctr", ""),
    PlannedStep(FIRST, "gate", SETTING),
    PlannedStep(FIRST, "u2q", "gate would run", follows=True),
    PlannedStep(FIRST, "publish", f"shelved: {THIRD} is live", release=True),
    *(PlannedStep(SECOND, stage, REMADE) for stage in ("logs", "ctr", "gate", "u2q")),
    RELEASED,
    PlannedStep(THIRD, "logs", ""),
    PlannedStep(THIRD, "publish", "", release=True),
]


def test_a_day_is_a_line() -> None:
    assert day_rows(STEPS) == [
        {
            "day": "2017-11-06",
            "run": "3 of 5",
            "stages": "gate → u2q → publish",
            "because": SETTING,
            "release": f"shelved: {THIRD} is live",
        },
        {
            "day": "2017-11-07",
            "run": "all 5",
            "stages": "logs → ctr → … → publish",
            "because": REMADE,
            "release": "goes live",
        },
    ]


def test_stages_with_causes_of_their_own_are_named() -> None:
    steps = [
        PlannedStep(FIRST, "ctr", SETTING),
        PlannedStep(FIRST, "recall", SETTING),  # the same cause
        PlannedStep(FIRST, "samples", "it never ran"),
        PlannedStep(FIRST, "policy", "ctr and samples would run", follows=True),
        PlannedStep(FIRST, "x2q", "its last result was a refusal"),
    ]
    [row] = day_rows(steps)
    assert row["because"] == f"{SETTING}; also samples, x2q"
    assert row["release"] == "-"  # nothing is known of it


def test_a_day_that_only_waits_for_its_publication() -> None:
    [row] = day_rows([PlannedStep(SECOND, "u2q", ""), RELEASED])
    assert (row["run"], row["stages"]) == ("1 of 2", "publish")
    assert (row["because"], row["release"]) == ("it is not released", "goes live")


def test_a_blocked_stage_runs_on_no_line() -> None:
    blocked = PlannedStep(FIRST, "logs", "logs of 2017-11-05 is missing", blocked=True)
    assert day_rows([blocked]) == step_rows([blocked]) == []


def test_it_is_printed_by_day_unless_all_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    blocked = PlannedStep(THIRD, "ctr", "[b]x[/b] is missing", blocked=True)
    print_plan([*STEPS[:-1], blocked], whole=False)
    head, first, second, counted, stop = capsys.readouterr().out.splitlines()
    assert head.split() == ["day", "run", "stages", "because", "release"]
    assert first.startswith(" 2017-11-06  3 of 5  gate → u2q → publish ")
    assert second.endswith(" goes live                   ")
    assert counted == "8 to run, 3 up to date; --all tells why for each"
    assert stop == "it would stop at ctr of 2017-11-08: [b]x[/b] is missing"

    print_plan(STEPS, whole=True)
    head, *rows, counted = capsys.readouterr().out.splitlines()
    assert head.split() == ["day", "stage", "runs", "because"]
    assert [row.split()[:2] for row in rows][:2] == [["2017-11-06", "gate"], ["2017-11-06", "u2q"]]
    assert (len(rows), counted) == (8, "8 to run, 4 up to date")


def test_nothing_to_run_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_plan(STEPS[-2:], whole=False)
    assert capsys.readouterr().out == "0 to run, 2 up to date\n"


def test_a_line_stays_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    long = "changed: " + ", ".join(f"input logs: of a window {number}" for number in range(20))
    steps = [PlannedStep(FIRST, "ctr", long), *STEPS[3:5]]
    print_plan(steps, whole=False)
    _, line, counted = capsys.readouterr().out.splitlines()
    assert len(line) <= WIDE
    assert "…" in line
    assert line.rstrip().endswith(f"shelved: {THIRD} is live")
    print_plan(steps, whole=True)
    told = " ".join(" ".join(capsys.readouterr().out.split()).split())
    assert "of a window 19" in told
    assert counted.startswith("3 to run")
