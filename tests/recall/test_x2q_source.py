import numpy as np
import pandas as pd

from aigq_tasks.recall.x2q_source import RECENT, X2qSource

ENTRIES = pd.DataFrame(
    [
        ("milk", 1, "oat milk", 0.9),
        ("milk", 2, "butter", 0.5),
        ("bread", 1, "butter", 0.7),
        ("bread", 2, "jam", 0.5),
        ("old", 1, "dust", 1.0),
    ],
    columns=["trigger", "rank", "query", "score"],
)
NOW = pd.Timestamp("2017-11-06T12:00")


def history(*rows: tuple[str, str, str]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=["user_id", "time", "content"])
    return table.assign(time=table["time"].to_numpy().astype("M8[us]"), kind="search")


def test_the_best_score_over_the_triggers_of_a_user() -> None:
    log = history(
        ("u1", "2017-11-05", "milk"),
        ("u1", "2017-11-06", "bread"),
        ("u2", "2017-11-06T12:00", "milk"),  # not before now
        ("u3", "2017-11-05", "nothing known"),
    )
    assert X2qSource(ENTRIES).recall(["u1", "u2", "u3"], log, NOW, 3) == {
        # butter: 0.5 by milk, 0.7 by bread. jam and nothing else has 0.5 then.
        "u1": [("oat milk", 0.9), ("butter", 0.7), ("jam", 0.5)],
        "u2": [],
        "u3": [],
    }
    assert X2qSource(ENTRIES).recall(["u1"], log, NOW, 1) == {"u1": [("oat milk", 0.9)]}


def test_only_the_latest_distinct_contents_trigger() -> None:
    days = np.arange("2017-10-01", "2017-11-01", dtype="M8[D]").astype(str)
    newer = [("u1", days[2 + i], f"thing {i % RECENT}") for i in range(2 * RECENT)]
    log = history(("u1", days[0], "old"), *newer)
    assert X2qSource(ENTRIES).recall(["u1"], log, NOW, 3) == {"u1": []}
    fewer = history(("u1", days[0], "old"), *[r for r in newer if r[2] != "thing 0"])
    assert X2qSource(ENTRIES).recall(["u1"], fewer, NOW, 3) == {"u1": [("dust", 1.0)]}
