"""The arms day by day, and how the demo draws them."""

import io

import matplotlib.image

from aigq_tasks.cli.demo import BAR, chart_lines, what_it_cannot_decide
from aigq_tasks.evaluation.intervals import Interval, PairedDifference
from aigq_tasks.reports.arm_days import DayOfArm, chart

POINTS = [
    DayOfArm("2017-11-06", "champion", Interval(0.5, 0.25, 0.75, 12)),
    DayOfArm("2017-11-06", "IL-SFT", Interval(0.0, 0.0, 0.0, 12)),
    DayOfArm("2017-11-07", "champion", Interval(1.0, 0.5, 1.0, 9)),
]


def test_a_line_per_day_and_arm() -> None:
    lines = chart_lines(POINTS)
    assert [line.split()[0] for line in lines] == [
        "2017-11-06",
        "champion",
        "IL-SFT",
        "2017-11-07",
        "champion",
    ]
    first, none, all_ = lines[1][13:], lines[2][13:], lines[4][13:]
    assert (first.index("├"), first.index("●"), first.index("┤")) == (15, 30, 44)
    assert first[16:30] == "─" * 14
    assert (none.index("●"), none[1:BAR].strip()) == (0, "")
    assert (all_.index("├"), all_.index("●")) == (30, BAR - 1)
    assert lines[1].endswith("0.500 [0.250, 0.750] n=12")


def test_the_chart_is_a_picture_and_the_same_each_time() -> None:
    png = chart(POINTS, "market")
    assert png == chart(POINTS, "market")
    assert png != chart(POINTS[:2], "market")
    assert matplotlib.image.imread(io.BytesIO(png)).shape[:2] == (450, 800)


def test_what_cannot_be_decided_is_half_the_interval() -> None:
    words = what_it_cannot_decide(PairedDifference(0.01, -0.03, 0.05, 0.3, 40))
    assert "+0.010 [-0.030, +0.050] (40 users)" in words
    assert "less than about 0.040" in words


def test_where_nobody_differs_nothing_is_said_of_chance() -> None:
    words = what_it_cannot_decide(PairedDifference(0.0, 0.0, 0.0, 1.0, 40))
    assert "say nothing of how the two compare" in words
    assert "less than" not in words
