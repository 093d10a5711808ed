"""Charts as PNG bytes: the same figures give the same bytes (no display, date or version in them).

Every chart draws the confidence limits of what it shows.
"""

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import matplotlib.style
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy.stats import binomtest

from aigq_tasks.errors import AigqError
from aigq_tasks.evaluation.intervals import Interval

_WIDTH, _HEIGHT, _DPI = 8.0, 4.5, 100  # inches, inches, pixels per inch


def calibration_curve(
    predicted: npt.NDArray[np.float64],
    clicked: npt.NDArray[np.float64],
    *,
    title: str,
    bins: int = 10,
) -> bytes:
    """Observed click rate against the mean prediction, in `bins` groups of equal size.

    `predicted` (n,) are probabilities, `clicked` (n,) is 0 or 1; bars are 95 % Wilson limits.
    """
    means, rates, lows, highs = calibration_points(predicted, clicked, bins)
    top = 1.05 * max(float(highs.max()), float(means.max()))
    with _chart(title, "predicted click probability", "observed click rate") as (axes, png):
        axes.plot([0, top], [0, top], color="0.6", linestyle="--", label="perfectly calibrated")
        whiskers = _whiskers(rates, lows, highs)
        axes.errorbar(means, rates, yerr=whiskers, marker="o", capsize=4, label="model")
        axes.set_xlim(0, top)
        axes.set_ylim(0, top)
        axes.legend(frameon=False, loc="upper left")
    return png.getvalue()


def hit_rate_bars(bars: Mapping[str, Interval], *, title: str, ylabel: str) -> bytes:
    """One bar per name (system, segment or ablation), in the order given, with its limits."""
    with _chart(title, "", ylabel) as (axes, png):
        limits = np.array([(bar.mean, bar.low, bar.high) for bar in bars.values()])
        means, lows, highs = limits.T
        at = np.arange(len(bars))
        axes.bar(at, means, yerr=_whiskers(means, lows, highs), capsize=4, width=0.6)
        for x, mean, high in zip(at, means, highs, strict=True):
            axes.annotate(
                f"{mean:.3f}", (x, high), xytext=(0, 4), textcoords="offset points", ha="center"
            )
        axes.set_xticks(at, list(bars), rotation=20 if len(bars) > 5 else 0)
        axes.margins(y=0.15)
        axes.set_ylim(bottom=0)
    return png.getvalue()


def lines_over_days(
    lines: Mapping[str, Mapping[str, Interval]], *, title: str, ylabel: str
) -> bytes:
    """One line per name, through its days (ISO) in their order, each point with its limits. Names
    stand a little beside each other, so that their limits can be told apart."""
    days = sorted({day for line in lines.values() for day in line})
    with _chart(title, "", ylabel) as (axes, png):
        for place, (name, line) in enumerate(lines.items()):
            shift = 0.08 * (place - (len(lines) - 1) / 2)
            at = np.array([days.index(day) + shift for day in line])
            limits = np.array([(point.mean, point.low, point.high) for point in line.values()])
            means, lows, highs = limits.T
            whiskers = _whiskers(means, lows, highs)
            axes.errorbar(at, means, yerr=whiskers, marker="o", capsize=3, label=name)
        axes.set_xticks(range(len(days)), days)
        axes.set_ylim(bottom=0)
        axes.legend(frameon=False, ncols=len(lines), loc="lower center")
    return png.getvalue()


def calibration_points(
    predicted: npt.NDArray[np.float64], clicked: npt.NDArray[np.float64], bins: int
) -> tuple[npt.NDArray[np.float64], ...]:
    """(mean prediction, click rate, low, high), each (bins,), over groups of equal size in the
    order of the predictions; low and high are Wilson's 95 % score limits (Wilson, 1927)."""
    if len(predicted) != len(clicked) or len(predicted) < bins:
        raise AigqError(
            f"{len(predicted)} predictions and {len(clicked)} outcomes for {bins} bins; "
            "give one outcome per prediction and at least one pair per bin"
        )
    order = np.argsort(predicted, kind="stable")
    groups = np.array_split(order, bins)
    means = np.array([predicted[group].mean() for group in groups])
    rates = np.array([clicked[group].mean() for group in groups])
    counts = [binomtest(int(clicked[group].sum()), len(group)) for group in groups]
    limits = np.array([count.proportion_ci(method="wilson") for count in counts])
    return means, rates, limits[:, 0], limits[:, 1]


@contextmanager
def _chart(title: str, xlabel: str, ylabel: str) -> Iterator[tuple[Axes, io.BytesIO]]:
    """Axes to draw on; the PNG is in the buffer when the block ends."""
    png = io.BytesIO()
    with matplotlib.style.context("default"):  # whatever matplotlibrc the machine has
        figure = Figure(figsize=(_WIDTH, _HEIGHT), dpi=_DPI, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        axes.set_title(title)
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="0.9")
        axes.set_axisbelow(True)
        yield axes, png
        figure.savefig(png, format="png", metadata={"Software": None})


def _whiskers(
    means: npt.NDArray[np.float64], lows: npt.NDArray[np.float64], highs: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Lengths (2, n) below and above the mean. A limit that rounding has put on the wrong side of
    the mean (all values equal) counts as the mean: matplotlib refuses negative lengths."""
    return np.maximum(np.stack([means - lows, highs - means]), 0.0)
