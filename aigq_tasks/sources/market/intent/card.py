"""The market card: public facts beside the market's own, who knows what, and how much is to win."""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from aigq_tasks.messages import markdown
from aigq_tasks.sources.market.intent.config import IntentConfig
from aigq_tasks.sources.market.intent.draws import Floats, Purpose, uniform
from aigq_tasks.sources.market.intent.rules import INTENTS, IntentName
from aigq_tasks.sources.market.intent.study import JUDGED, Figures, study

RESAMPLES = 2000  # of households, behind each interval
Cell = Callable[[Figures], str]


def card(figures: Mapping[IntentName, Figures], households: int, seed: int) -> str:
    """The card as Markdown. figures: of each intent, "default" among them with its AUC; households:
    how many saw hints; seed: of the intervals."""
    known = figures["default"].auc
    areas = [{"ranker": name, "AUC": f"{area:.3f}"} for name, area in known.items()]
    return "\n".join(
        [
            "# Market card",
            "",
            f"Replayed market over The Complete Journey (simulated), {JUDGED[0]} to {JUDGED[1]}, "
            f"hints for {households} households. Made by `aigq market-card`; the days that the "
            "demo evaluates are not in it. The last column is a control: each need has one string.",
            "",
            _table(FACTS, figures),
            "## Who knows what",
            "",
            "AUC within a request, over all known needs that are not done yet; positive is what is "
            "typed later in the session. It does not depend on wordings, so it is given once.",
            "",
            markdown(areas),
            "## What is to win",
            "",
            "`classic` counts texts: popularity, own queries, and what came after the last "
            "behaviours (texts, categories of items), mixed at the request, without a model. "
            "`oracle` ranks needs by all that can be known, and words them as the household did. "
            "Intervals: 95%, households drawn anew.",
            "",
            _table(_pages(seed), figures),
        ]
    )


def _table(rows: Mapping[tuple[str, str], Cell], figures: Mapping[IntentName, Figures]) -> str:
    return markdown(
        [
            {"figure": name, "published": public}
            | {intent.replace("_", " "): cell(own) for intent, own in figures.items()}
            for (name, public), cell in rows.items()
        ]
    )


def _fact(name: str) -> Cell:
    return lambda own: f"{own.facts[name]:.3f}"


def _ctr(own: Figures) -> str:
    hints = own.pages["classic"]
    places = hints.groupby("position")["clicked"].mean()
    return f"{hints['clicked'].mean():.4f} ({', '.join(f'{rate:.4f}' for rate in places)})"


FACTS: Mapping[tuple[str, str], Cell] = {
    (
        "searches that their user made before, in these words",
        "0.33-0.40 (Teevan et al., SIGIR 2007; Tyler and Teevan, WSDM 2010)",
    ): _fact("repeated"),
    (
        "volume of queries that are seen once in the log",
        "0.10 or more (0.28 in one shop's year)",
    ): _fact("once"),
    (
        "CTR of the classic page, by position",
        "0.02-0.10, falling",
    ): _ctr,
    (
        "next step among the 20 that followed the last one most often",
        "about 0.35 (item-kNN on Diginetica)",
    ): _fact("next"),
    ("... among the 20 commonest", "far below"): _fact("next_popular"),
    ("searched, and not bought then", "more than 0.5"): _fact("searched_unbought"),
    ("looked at in any way, and not bought then", "more than 0.5"): _fact("looked_unbought"),
}


def _pages(seed: int) -> Mapping[tuple[str, str], Cell]:
    def won(arm: str) -> Cell:
        return lambda own: "{:+.1%} [{:+.1%}, {:+.1%}]".format(
            *headroom(own.pages["classic"], own.pages[arm], seed)
        )

    def mean(arm: str, column: str) -> Cell:
        return lambda own: f"{own.pages[arm][column].mean():.4f}"

    rows: dict[tuple[str, str], Cell] = {
        ("UCTR of classic", ""): lambda own: f"{uctr(own.pages['classic']):.4f}",
        ("UCTR of oracle, against classic", ""): won("oracle"),
    }
    for arm in ("classic", "oracle", "last searches again"):
        rows[f"CTR of {arm}", ""] = mean(arm, "clicked")
        rows[f"hints of {arm} that name a need to come", ""] = mean(arm, "meets")
    rows["classic: share of own queries, of what came after", ""] = lambda own: (
        f"{own.mix.own}, {own.mix.after}"
    )
    return rows


def uctr(hints: pd.DataFrame) -> float:
    """Share of household-days with hints that clicked any."""
    return float(hints.groupby(["household_id", "day"])["clicked"].any().mean())


def headroom(classic: pd.DataFrame, other: pd.DataFrame, seed: int) -> tuple[float, float, float]:
    """UCTR of `other` relative to `classic`, and its 95% limits over households. Both: of
    `study.hints_of`, over the same days."""
    days = [
        hints.groupby(["household_id", "day"])["clicked"]
        .any()
        .groupby("household_id")
        .agg(["sum", "size"])
        for hints in (classic, other)
    ]
    one, two = days[0].align(days[1], join="outer", axis=0, fill_value=0)
    sums = np.column_stack([one, two]).astype(np.float64)
    draw = uniform(seed, Purpose.PARTS, np.arange(RESAMPLES)[:, None], np.arange(len(sums)))
    drawn = sums[np.floor(draw * len(sums)).astype(np.int64)].sum(axis=1)
    change = _relative(np.vstack([sums.sum(axis=0), drawn]))
    low, high = np.quantile(change[1:][np.isfinite(change[1:])], [0.025, 0.975])
    return float(change[0]), float(low), float(high)


def _relative(totals: Floats) -> Floats:
    """(n, 4): clicking and all household-days of one, then of the other -> (n,)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        change: Floats = (totals[:, 2] / totals[:, 3]) / (totals[:, 0] / totals[:, 1]) - 1
    return change


def card_of_all(seed: int, households: int) -> str:
    """The card of all INTENTS side by side, as Markdown: five minutes for each on one core."""
    figures = {
        intent: study(IntentConfig(intent=intent), seed, households, intent == "default")
        for intent in INTENTS
    }
    return card(figures, households, seed)
