"""`aigq pretrain`: train the committed base model and write its card.

The base sees the market's searches and item clicks before 2017-09-01 and is judged once, on the
week after. Card, weights and tokenizer are committed together; a test holds them to each other.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from aigq_tasks.context.prompt import Histories, profile_words, render_prompt
from aigq_tasks.logs.behaviours import behaviours
from aigq_tasks.logs.schema import empty
from aigq_tasks.policy.pretrain import (
    CUTOFF,
    Corpus,
    PretrainConfig,
    make_corpus,
    pretrain,
)
from aigq_tasks.settings import MarketSettings
from aigq_tasks.storage.objects import sha256

JUDGED_DAYS = 7
CARD = "card.json"


def train_base(out: Path, steps: int | None, threads: int) -> None:
    """Train (or resume in `out`/checkpoint) and write model, tokenizer, card.json, README.md."""
    from aigq_tasks.policy.backbone import make_deterministic, save_policy

    config = PretrainConfig() if steps is None else PretrainConfig(steps=steps)
    make_deterministic(config.seed, threads)
    history, profiles = _log(date(2017, 1, 1), CUTOFF - timedelta(days=1), config.seed)
    corpus = make_corpus(history, profiles)
    model, tokenizer, curve = pretrain(
        corpus, Counter(history["content"]), config, out / "checkpoint"
    )
    model = model.bfloat16()  # as it is committed: half the size, and what is judged is shipped
    files = save_policy(model, tokenizer)
    out.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (out / name).write_bytes(data)
    card = _card(config, threads, corpus, history, curve, files)
    card["evaluation"] = judge(model.float(), tokenizer, config)
    (out / CARD).write_text(json.dumps(card, indent=2, sort_keys=True) + "\n")
    (out / "README.md").write_text(_readme(card))
    print(f"base model written to {out}: {json.dumps(card['evaluation'])}")


def _log(first: date, last: date, seed: int) -> tuple[pd.DataFrame, dict[str, str]]:
    """Behaviours (searches and item clicks) of a range of days, and profile words per user."""
    from aigq_tasks.market.items import common_phrases
    from aigq_tasks.market.visits import profiles, searches_and_clicks, user_ids, visits_between

    market = MarketSettings()
    visits = visits_between(first, last, market, seed)
    searches, clicks = searches_and_clicks(visits, market, seed)
    hints = {name: empty(name) for name in ("hint_impressions", "late_clicks")}
    # Before there is any model, nobody but the market knows what shoppers call its items.
    texts = common_phrases(clicks["item_id"].unique())
    table = behaviours({"searches": searches, "item_clicks": clicks, **hints}, texts)
    head = visits.visits
    ids = user_ids(head["household_id"].to_numpy(), head["start"].to_numpy(), market, seed)
    users = profiles(pd.DataFrame({"user_id": ids, "household_id": head["household_id"]}))
    return table, profile_words(users)


def judge(model: Any, tokenizer: Any, config: PretrainConfig) -> dict[str, float]:
    """Query HR@10 and HR@30 of greedy lists on the searches of the week after the cut-off, each
    user-day with the history before it; beside popularity on the same user-days."""
    from aigq_tasks.policy.generate import generate_lists

    last = CUTOFF + timedelta(days=JUDGED_DAYS - 1)
    history, profiles = _log(CUTOFF - timedelta(days=120), last, config.seed)
    searches = history[history["kind"] == "search"]
    days = searches["time"].to_numpy().astype("M8[D]")
    popular = searches[days < np.datetime64(CUTOFF)]["content"].value_counts().index[:30]
    histories = Histories.of(history)
    user_days = cast(
        Iterable[tuple[tuple[str, pd.Timestamp], pd.DataFrame]],
        searches.groupby(["user_id", days]),
    )
    cases = [
        (str(user), day, set(rows["content"]))
        for (user, day), rows in user_days
        if day >= pd.Timestamp(CUTOFF)
    ]
    prompts = [
        render_prompt(
            profiles.get(user, ""),
            histories.lines(user, np.datetime64(day, "us"), config.history_lines),
        )
        for user, day, _ in cases
    ]
    lists = [parsed.queries for parsed in generate_lists(model, tokenizer, prompts, 30)]
    truth = [wanted for _, _, wanted in cases]
    return {
        "user_days": float(len(cases)),
        "query_hr_10": _hit_rate(lists, truth, 10),
        "query_hr_30": _hit_rate(lists, truth, 30),
        "popularity_query_hr_30": _hit_rate([list(popular)] * len(truth), truth, 30),
    }


def _hit_rate(lists: Sequence[Sequence[str]], truth: Sequence[set[str]], k: int) -> float:
    hits = [bool(wanted & set(found[:k])) for found, wanted in zip(lists, truth, strict=True)]
    return round(float(np.mean(hits)), 4)


def _card(
    config: PretrainConfig,
    threads: int,
    corpus: Corpus,
    history: pd.DataFrame,
    curve: list[dict[str, float]],
    files: Mapping[str, bytes],
) -> dict[str, Any]:
    return {
        "command": f"aigq pretrain --out aigq_tasks/policy/base --threads {threads}",
        "config": config.model_dump(mode="json"),
        "data": {
            "source": "replayed market over The Complete Journey (simulated shopping data)",
            "first_day": "2017-01-01",
            "last_day": (CUTOFF - timedelta(days=1)).isoformat(),
            "behaviours": len(history),
            "user_days": len(corpus.keys),
        },
        "curve": curve,
        "digests": {name: sha256(data) for name, data in sorted(files.items())},
    }


def _readme(card: Mapping[str, Any]) -> str:
    figures = card["evaluation"]
    return f"""# Base model of the `tiny` backbone

A Qwen3-shaped causal language model with a tokenizer of shopper phrases. It plays the part that
a hub checkpoint plays for bigger models: it can read a shopping history, nothing more.

* **Data:** {card["data"]["behaviours"]:,} searches and item clicks of {card["data"]["first_day"]}
  to {card["data"]["last_day"]}, {card["data"]["source"]}. No hint, no click on a hint, and no day
  after the cut-off, which every command of this project trains and evaluates behind.
* **Command:** `{card["command"]}` (seed {card["config"]["seed"]}, {card["config"]["steps"]} steps
  of {card["config"]["batch_size"]} lists; method in `aigq_tasks/policy/pretrain.py`).
* **Evaluation** on {figures["user_days"]:.0f} user-days of the week after the cut-off, greedy
  lists: Query HR@10 {figures["query_hr_10"]}, HR@30 {figures["query_hr_30"]} (popularity on the
  same user-days: {figures["popularity_query_hr_30"]}).
* **Files:** weights in bfloat16; digests, settings and the loss curve are in `card.json`.
* **Limits:** English grocery phrases of one simulated market; any other text is spelt badly.
"""
