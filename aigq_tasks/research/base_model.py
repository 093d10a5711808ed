"""`aigq pretrain`: train the committed base model and write its card.

The base sees searches and item clicks of before the CUTOFF and is judged once, on the week after.
Card, weights and tokenizer are committed together; a test holds them to each other.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from aigq_tasks.context.prompt import Histories, render_prompt
from aigq_tasks.policy.pretrain import Corpus, PretrainConfig, make_corpus, pretrain
from aigq_tasks.settings import HISTORY_DAYS
from aigq_tasks.storage.objects import sha256

CUTOFF = date(2017, 9, 1)
JUDGED_DAYS = 7
CARD = "card.json"


@dataclass(frozen=True)
class Past:
    """Behaviours without any hint, of a source of the log.

    source, texts: what the card calls it, and what kind of texts it holds. first: the first day.
    between: (first day, last day, seed) -> behaviours (`logs.behaviours`) of these days, and user
    -> profile in words.
    """

    source: str
    texts: str
    first: date
    between: Callable[[date, date, int], tuple[pd.DataFrame, dict[str, str]]]


def train_base(past: Past, out: Path, steps: int | None, threads: int) -> dict[str, float]:
    """Train (or resume in `out`/checkpoint) and write model, tokenizer, card.json, README.md. How
    good it is, see `judge`."""
    from aigq_tasks.policy.backbone import make_deterministic, save_policy

    config = PretrainConfig() if steps is None else PretrainConfig(steps=steps)
    make_deterministic(config.seed, threads)
    history, profiles = past.between(past.first, CUTOFF - timedelta(days=1), config.seed)
    corpus = make_corpus(history, profiles)
    model, tokenizer, curve = pretrain(
        corpus, Counter(history["content"]), config, out / "checkpoint"
    )
    model = model.bfloat16()  # as it is committed: half the size, and what is judged is shipped
    files = save_policy(model, tokenizer)
    out.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (out / name).write_bytes(data)
    card = _card(config, threads, past, corpus, len(history), curve, files)
    quality = judge(model.float(), tokenizer, config, past)
    card["evaluation"] = quality
    (out / CARD).write_text(json.dumps(card, indent=2, sort_keys=True) + "\n")
    (out / "README.md").write_text(readme(card, past.texts))
    return quality


def judge(model: Any, tokenizer: Any, config: PretrainConfig, past: Past) -> dict[str, float]:
    """Query HR@10 and HR@30 of greedy lists on the searches of the week after the cut-off, each
    user-day with the HISTORY_DAYS before it; beside popularity on the same user-days."""
    from aigq_tasks.policy.generate import generate_lists

    last = CUTOFF + timedelta(days=JUDGED_DAYS - 1)
    first = CUTOFF - timedelta(days=HISTORY_DAYS)
    history, profiles = past.between(first, last, config.seed)
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
    past: Past,
    corpus: Corpus,
    behaviours: int,
    curve: list[dict[str, float]],
    files: Mapping[str, bytes],
) -> dict[str, Any]:
    return {
        "command": f"aigq pretrain --out aigq_tasks/policy/base --threads {threads}",
        "config": config.model_dump(mode="json"),
        "data": {
            "source": past.source,
            "first_day": past.first.isoformat(),
            "last_day": (CUTOFF - timedelta(days=1)).isoformat(),
            "behaviours": behaviours,
            "user_days": len(corpus.keys),
        },
        "curve": curve,
        "digests": {name: sha256(data) for name, data in sorted(files.items())},
    }


def readme(card: Mapping[str, Any], texts: str) -> str:
    """What stands beside the files. texts: see `Past`."""
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
* **Limits:** {texts}; any other text is spelt badly.
"""
