import io
from collections.abc import Callable

import matplotlib.image
import matplotlib.pyplot as plt
import numpy as np
import pytest

from aigq_tasks.errors import AigqError
from aigq_tasks.evaluation.charts import (
    calibration_curve,
    calibration_points,
    hit_rate_bars,
)
from aigq_tasks.evaluation.intervals import Interval


def calibration(slope: float = 1.0) -> bytes:
    rng = np.random.default_rng(0)
    predicted = rng.random(2000) * 0.3
    clicked = (rng.random(2000) < predicted * slope).astype(np.float64)
    return calibration_curve(predicted, clicked, title="Calibration")


def bars(first: float = 0.4) -> bytes:
    systems = {"policy": Interval(first, 0.37, 0.43, 800), "ebr": Interval(0.3, 0.27, 0.33, 800)}
    return hit_rate_bars(systems, title="Query HR@30", ylabel="share of user-days")


@pytest.mark.parametrize("draw", [calibration, bars])
def test_png_is_deterministic_whatever_the_machines_style(draw: Callable[[], bytes]) -> None:
    png = draw()
    with plt.rc_context({"lines.linewidth": 9.0, "figure.facecolor": "black"}):
        assert draw() == png
    assert b"Software" not in png
    assert b"matplotlib" not in png.lower()
    pixels = matplotlib.image.imread(io.BytesIO(png))
    assert pixels.shape == (450, 800, 4)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (calibration(), calibration(0.5)),
        (bars(), bars(0.41)),
    ],
)
def test_charts_show_their_figures(one: bytes, other: bytes) -> None:
    first, second = (matplotlib.image.imread(io.BytesIO(png)) for png in (one, other))
    assert (first != second).any()


def test_calibration_points_by_hand() -> None:
    predicted = np.array([0.9, 0.1, 0.3, 0.7])
    clicked = np.array([1.0, 0.0, 1.0, 1.0])
    means, rates, lows, highs = calibration_points(predicted, clicked, 2)
    # Groups (0.1, 0.3) with clicks (0, 1), and (0.7, 0.9) with (1, 1).
    assert means == pytest.approx([0.2, 0.8])
    assert rates == pytest.approx([0.5, 1.0])
    # Wilson, n=2, z^2=3.8415: centre (p + z^2/4) / (1 + z^2/2) = 1.4604/2.9207 = 0.5 for p=0.5,
    # half = 1.96/2.9207 * sqrt(0.125 + 0.24009) = 0.40550; for p=1 centre 0.67119, half 0.32881.
    assert lows == pytest.approx([0.09453, 0.34238], abs=1e-4)
    assert highs == pytest.approx([0.90547, 1.0], abs=1e-4)


@pytest.mark.parametrize("n", range(10, 200, 10))
def test_groups_without_a_click_can_be_drawn(n: int) -> None:
    # Wilson's lower limit of 0 clicks is 0 up to rounding, on either side of it.
    assert calibration_curve(np.linspace(0, 0.1, n), np.zeros(n), title="no click")


def test_limits_beside_the_mean_by_rounding_can_be_drawn() -> None:
    equal = Interval(mean=0.1, low=np.nextafter(0.1, 1), high=np.nextafter(0.1, 0), users=3)
    assert hit_rate_bars({"all equal": equal}, title="t", ylabel="y")


def test_errors_say_what_is_wrong() -> None:
    with pytest.raises(AigqError, match="5 predictions and 5 outcomes for 10 bins"):
        calibration_curve(np.zeros(5), np.zeros(5), title="t")
