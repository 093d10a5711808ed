"""Stage `item-model`: learn what shoppers call an item (paper 3.2.1).

From search results that were clicked: the item's attributes -> the query that led to it. Trained
once, at the bootstrap; its texts (`item_texts`) are part of a release.
"""

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

import numpy as np
import pandas as pd

from aigq_tasks.context.item_text import ITEM_TOKENS, facets_digest, render_item
from aigq_tasks.context.queries import normalize
from aigq_tasks.errors import AigqError
from aigq_tasks.pipeline.calendar import history
from aigq_tasks.pipeline.given import Given
from aigq_tasks.pipeline.reads import Logs, Outside
from aigq_tasks.pipeline.stage import Output, Slice, Stage
from aigq_tasks.policy.backbone import backbone_digest
from aigq_tasks.policy.config import PolicySample, SftConfig

BATCH = 256  # prompts and texts are short
UNSEEN_SHARE = 0.05  # of the facets, kept out of training to judge the texts


class ItemModelSlice(Slice):
    """samples: clicks on search results to learn from. seed, threads: of torch."""

    backbone: str
    samples: int
    sft: SftConfig
    seed: int
    threads: int


def compute(given: Given, settings: ItemModelSlice, day: date) -> Output:
    """IL-SFT from the base model: facets -> the queries that led to clicks on the item."""
    from aigq_tasks.policy.backbone import load_backbone, make_deterministic, save_policy
    from aigq_tasks.policy.il_sft import train_il_sft

    make_deterministic(settings.seed, settings.threads)
    pairs = clicked_pairs(given.logs("history"))
    if pairs.empty:
        raise AigqError(f"no search up to {day} led to a click on an item: nothing to learn")
    unseen = kept_out(pairs["prompt"])
    known = pairs[~unseen]
    chosen = np.random.default_rng(settings.seed).permutation(len(known))[: settings.samples]
    rows = known.iloc[chosen]
    network, tokenizer = load_backbone(settings.backbone, ITEM_TOKENS)
    samples = [
        PolicySample("", prompt, [query])
        for prompt, query in zip(rows["prompt"], rows["query"], strict=True)
    ]
    steps = train_il_sft(network, tokenizer, samples, settings.sft, settings.seed)
    losses = [step["loss"] for step in steps if "loss" in step]
    metrics: dict[str, float | str] = {
        "pairs": float(len(pairs)),
        "samples": float(len(rows)),
        "loss_first": round(float(np.mean(losses[:10])), 6),
        "loss_last": round(float(np.mean(losses[-10:])), 6),
        "backbone": settings.backbone,
        **judge(network, tokenizer, pairs[unseen]),
    }
    files = save_policy(network, tokenizer)
    return Output(files=files, records={"history.json": steps}, metrics=metrics)


def clicked_pairs(logs: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """prompt, query (normalised): one row per click on a search result, in log order.

    logs: items, searches, search_clicks."""
    items = with_prompts(logs["items"])
    clicks = logs["search_clicks"][["event_id", "item_id"]]
    pairs = clicks.merge(logs["searches"][["event_id", "query"]], on="event_id")
    pairs = pairs.merge(items[["item_id", "prompt"]], on="item_id")
    pairs["query"] = [normalize(query) for query in pairs["query"]]
    return pairs.loc[pairs["query"] != "", ["prompt", "query"]].reset_index(drop=True)


def with_prompts(items: pd.DataFrame) -> pd.DataFrame:
    """The items, each once as last seen, with `prompt`: their attributes as the model reads
    them."""
    latest = items.drop_duplicates("item_id", keep="last")
    return latest.assign(prompt=[render_item(own) for own in latest["attributes"]])


def kept_out(prompts: pd.Series) -> pd.Series:
    """bool: whether these facets are among those that the model is judged on."""
    share = prompts.map(lambda prompt: int(facets_digest(prompt)[:8], 16) / 2**32)
    return share < UNSEEN_SHARE


def judge(network: Any, tokenizer: Any, pairs: pd.DataFrame) -> dict[str, float]:
    """Texts of facets that the model has not seen against the queries that were typed: how often
    they are equal, and mean ROUGE-L F1. {} without pairs."""
    from aigq_tasks.policy.rewards import rouge_l

    if pairs.empty:
        return {}
    texts = write_texts(network, tokenizer, pairs["prompt"])
    written = pairs["prompt"].map(texts)
    rouge = [rouge_l(text, query) for text, query in zip(written, pairs["query"], strict=True)]
    return {
        "unseen/clicks": float(len(pairs)),
        "unseen/equal": round(float((written == pairs["query"]).mean()), 6),
        "unseen/rouge_l": round(float(np.mean(rouge)), 6),
    }


def write_texts(
    network: Any, tokenizer: Any, prompts: Iterable[str], progress: bool = False
) -> dict[str, str]:
    """prompt -> the text that the model writes for it, greedily; "" where it writes none."""
    from aigq_tasks.policy.generate import generate_lists

    distinct = sorted(set(prompts))
    written = generate_lists(network, tokenizer, distinct, 1, batch_size=BATCH, progress=progress)
    return {
        prompt: parsed.queries[0] if parsed.queries else ""
        for prompt, parsed in zip(distinct, written, strict=True)
    }


ITEM_MODEL = Stage(
    name="item-model",
    needs=("s3", "mlflow"),
    reads=(
        Logs("history", ("items", "searches", "search_clicks"), history),
        Outside("base model", lambda own: backbone_digest(own.item_text.backbone)),
    ),
    settings=lambda settings: ItemModelSlice(
        backbone=settings.item_text.backbone,
        samples=settings.item_text.samples,
        sft=settings.item_text.sft,
        seed=settings.policy.seed,
        threads=settings.threads,
    ),
    compute=compute,
)
