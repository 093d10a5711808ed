"""Time to score 1,000 (user, query) pairs, feature building included, on one core.

    OMP_NUM_THREADS=1 python benchmarks/bench_ctr_scoring.py [--runs 200]

The log is synthetic with the sizes of the replayed market: 2,500 users, 91 days of 4,000
behaviours, 28 days of 5,500 impressions with ~400 clicks, ~5,000 phrases of 1-4 words and
modifiers, popular phrases and habits skewed.  The model is trained on the last 14 days.  Every run
scores pairs it has not met: half from the user's own phrases, a quarter popular ones, a quarter
generated word mixes that no log holds.  CPU time is printed beside wall time, because a busy
machine lengthens the second only. `--smallest` tries it out in seconds, with a log of another size.
"""

import argparse
import time
from typing import NamedTuple

import numpy as np
import pandas as pd

from ctr_model.config import TrainConfig
from ctr_model.features import FeatureBuilder
from ctr_model.history import EventLog
from ctr_model.model import CtrModel, score
from ctr_model.train import train

DAYS, HINT_DAYS, TRAIN_DAYS, HABITS, PAIRS = 91, 28, 14, 120, 1_000
MODIFIERS = ("store brand", "name brand", "1 gal", "16 oz", "family size")
OWN_BRAND = ("store brand",)
END = pd.Timestamp("2017-11-30")


class Size(NamedTuple):
    """Of the log: users, behaviours and impressions per day, distinct phrases."""

    users: int
    events: int
    hints: int
    phrases: int


FULL, SMALLEST = Size(2_500, 4_000, 5_500, 5_000), Size(50, 40, 300, 200)


def phrases(rng: np.random.Generator, count: int) -> np.ndarray:
    """Distinct texts of 1-4 words out of 1,500, every fifth with a modifier."""
    texts: dict[str, None] = {}
    while len(texts) < count:
        words = rng.zipf(1.3, rng.integers(1, 5)) % 1_500
        text = " ".join(f"word{w}" for w in dict.fromkeys(words.tolist()))
        if rng.random() < 0.2:
            text += " " + MODIFIERS[rng.integers(len(MODIFIERS))]
        texts[text] = None
    return np.array(list(texts))


def skewed(rng: np.random.Generator, n: int, size: tuple[int, ...] | int) -> np.ndarray:
    """Indices below n, the small ones more often (density falls as 1/sqrt)."""
    return (rng.random(size) ** 2 * n).astype(np.int64)


def synthetic_log(
    rng: np.random.Generator, texts: np.ndarray, size: Size
) -> tuple[pd.DataFrame, pd.DataFrame, np.ndarray]:
    """behaviours, impressions, and each user's habits (users, HABITS) as phrase numbers."""
    habits = skewed(rng, size.phrases, (size.users, HABITS))
    n = DAYS * size.events
    user = rng.integers(size.users, size=n)
    start = END - pd.Timedelta(days=DAYS)
    behaviours = pd.DataFrame(
        {
            "user_id": [f"h{u}" for u in user],
            "time": start + pd.to_timedelta(rng.random(n) * DAYS * 86_400, unit="s"),
            "kind": rng.choice(["search", "item_click", "hint_click"], n, p=[0.25, 0.7, 0.05]),
            "content": texts[habits[user, skewed(rng, HABITS, n)]],
        }
    )
    n = HINT_DAYS * size.hints
    user, own = rng.integers(size.users, size=n), rng.random(n) < 0.6
    phrase = np.where(own, habits[user, skewed(rng, HABITS, n)], skewed(rng, size.phrases, n))
    position = np.arange(n) % 3 + 1
    clicked = rng.random(n) < np.where(own, 0.11, 0.02) * np.array([0, 1, 0.7, 0.5])[position]
    shown_at = END - pd.to_timedelta(rng.random(n) * HINT_DAYS * 86_400, unit="s")
    impressions = pd.DataFrame(
        {
            "user_id": [f"h{u}" for u in user],
            "time": shown_at,
            "position": position,
            "query": texts[phrase],
            "clicked": clicked,
            "click_time": shown_at.where(clicked),
        }
    )
    return behaviours, impressions, habits


def generated(rng: np.random.Generator, n: int) -> list[str]:
    return [" ".join(f"word{w}" for w in rng.integers(1_500, size=4)) for _ in range(n)]


def batch(
    rng: np.random.Generator, texts: np.ndarray, habits: np.ndarray
) -> tuple[list[str], list[str]]:
    user = rng.integers(len(habits), size=PAIRS)
    own = texts[habits[user[: PAIRS // 2], rng.integers(HABITS, size=PAIRS // 2)]].tolist()
    popular = texts[skewed(rng, len(texts), PAIRS // 4)].tolist()
    return [f"h{u}" for u in user], own + popular + generated(rng, PAIRS // 4)


def trained(behaviours: pd.DataFrame, impressions: pd.DataFrame) -> CtrModel:
    """The model of the last TRAIN_DAYS, each day's features as of its own start."""
    clock = time.perf_counter()
    log = EventLog.of(behaviours, impressions)
    shown = impressions[impressions["time"] >= END - pd.Timedelta(days=TRAIN_DAYS)]
    days = list(shown.groupby(shown["time"].dt.normalize()))
    features = [
        FeatureBuilder(log, start, OWN_BRAND).pairs(
            rows["user_id"].tolist(), rows["query"].tolist(), rows["position"].to_numpy()
        )
        for start, rows in days
    ]
    rows = pd.concat([rows for _, rows in days])
    print(f"features of {len(rows)} impressions, {len(days)} days: {since(clock):.1f} s")
    clock = time.perf_counter()
    model = train(
        np.concatenate(features),
        rows["clicked"].to_numpy(),
        rows["time"].to_numpy("M8[D]"),
        TrainConfig(num_threads=1),
        seed=0,
    )
    print(f"training: {since(clock):.1f} s, {model.training['trees']} trees")
    print(f"newest days: AUC {model.metrics['auc']:.3f}, ECE {model.metrics['ece']:.4f}")
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--smallest", action="store_true")
    options = parser.parse_args()
    runs, size = options.runs, SMALLEST if options.smallest else FULL
    rng = np.random.default_rng(0)
    texts = phrases(rng, size.phrases)
    behaviours, impressions, habits = synthetic_log(rng, texts, size)
    model = trained(behaviours, impressions)
    clock = time.perf_counter()
    builder = FeatureBuilder.from_behaviours(behaviours, impressions, END, own_brand=OWN_BRAND)
    print(f"snapshot of {len(behaviours)} behaviours: {since(clock):.2f} s")

    score(model, builder, *batch(rng, texts, habits))  # loads the trees
    wall, cpu = [], []
    for _ in range(runs):
        users, queries = batch(rng, texts, habits)
        clock, cpu_clock = time.perf_counter(), time.process_time()
        score(model, builder, users, queries)
        cpu.append((time.process_time() - cpu_clock) * 1_000)
        wall.append(since(clock) * 1_000)
    for name, milliseconds in (("wall", wall), ("CPU", cpu)):
        median, p99 = np.percentile(milliseconds, [50, 99])
        print(f"score {PAIRS} pairs, {name}: median {median:.1f} ms, p99 {p99:.1f} ms, {runs} runs")


def since(clock: float) -> float:
    return time.perf_counter() - clock


if __name__ == "__main__":
    main()
