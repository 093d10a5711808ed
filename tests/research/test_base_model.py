"""What `aigq pretrain` writes, on two shoppers in place of a year of shopping."""

import json
from datetime import date, timedelta
from pathlib import Path

import pandas as pd

import aigq_tasks.policy
from aigq_tasks.research.base_model import CUTOFF, Past, readme, train_base
from aigq_tasks.sources.market import pretraining
from aigq_tasks.storage.objects import sha256

BASE = Path(aigq_tasks.policy.__file__).parent / "base"
FIRST = CUTOFF - timedelta(days=40)


def test_the_committed_words_are_those_of_the_card() -> None:
    card = json.loads((BASE / "card.json").read_text())
    assert card["data"]["source"] == pretraining.SOURCE
    assert (BASE / "README.md").read_text() == readme(card, pretraining.TEXTS)


def test_the_base_is_trained_before_the_cutoff_and_judged_after_it(tmp_path: Path) -> None:
    asked = []

    def between(first: date, last: date, seed: int) -> tuple[pd.DataFrame, dict[str, str]]:
        asked.append((first, last, seed))
        days = pd.date_range(max(first, FIRST), last, freq="4D")
        rows = [
            (user, day + pd.Timedelta(hours=10), "search", query)
            for day in days
            for user, query in (("ann", "tea"), ("bob", "milk"))
        ]
        table = pd.DataFrame(rows, columns=["user_id", "time", "kind", "content"])
        return table.astype({"time": "datetime64[us]"}), {"ann": "65+", "bob": ""}

    past = Past("a shop", "two words", FIRST, between)
    quality = train_base(past, tmp_path, 1, 1)
    eve = CUTOFF - timedelta(days=1)
    assert asked == [
        (FIRST, eve, 17),
        (CUTOFF - timedelta(days=120), CUTOFF + timedelta(days=6), 17),
    ]
    card = json.loads((tmp_path / "card.json").read_text())
    # Eleven days for both users; the first three of each have too little before them.
    assert card["data"] == {
        "source": "a shop",
        "first_day": FIRST.isoformat(),
        "last_day": eve.isoformat(),
        "behaviours": 20,
        "user_days": 14,
    }
    assert card["evaluation"] == quality
    # Both asked for the same after the cut-off; nothing else was ever popular.
    assert quality["user_days"] == 4.0
    assert quality["popularity_query_hr_30"] == 1.0
    written = {
        path.name: sha256(path.read_bytes())
        for path in tmp_path.iterdir()
        if path.is_file() and path.name not in ("card.json", "README.md")
    }
    assert written == card["digests"]
    assert "**Limits:** two words; any" in (tmp_path / "README.md").read_text()
