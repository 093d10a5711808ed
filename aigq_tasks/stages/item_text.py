"""Stages `item-model` and `item-texts`: what shoppers call an item (paper 3.2.1).

The model learns from search results that were clicked: the item's facets -> the query that led to
it. Its texts are part of a release: whatever reads a history calls items by them. A text is
written once per set of facets and kept from release to release; an item newer than the release
goes by its title until the next one.
"""

from collections.abc import Iterable
from datetime import date
from typing import Any

import numpy as np
import pandas as pd

from aigq_tasks.context.item_text import ITEM_TOKENS, facets_digest, render_item
from aigq_tasks.context.queries import is_allowed, normalize
from aigq_tasks.errors import AigqError
from aigq_tasks.policy.training import PolicySample
from aigq_tasks.stages.context import Context
from aigq_tasks.stages.reading import (
    files,
    log_window,
    model,
    need,
    read_logs,
    release_digest,
    table,
    window_digest,
)
from aigq_tasks.stages.runner import StageOutput
from aigq_tasks.storage.canonical import to_json
from aigq_tasks.storage.ledger import Entry
from aigq_tasks.storage.manifests import Manifest
from aigq_tasks.storage.tables import to_parquet

FACETS = ["brand_tier", "category", "product_type", "size"]
COLUMNS = ["item_id", "facets", "text"]
BATCH = 256  # prompts and texts are short
UNSEEN_SHARE = 0.05  # of the facets, kept out of training to judge the texts


class ItemModelStage:
    """IL-SFT from the base model: facets -> the queries that led to clicks on the item."""

    name = "item-model"
    needs: tuple[str, ...] = ("s3", "mlflow")

    def inputs(self, ctx: Context, day: date) -> dict[str, str]:
        return {"logs": window_digest(log_window(ctx, day))}

    def config(self, ctx: Context) -> dict[str, Any]:
        policy, item_text = ctx.settings.policy, ctx.settings.item_text
        return {"seed": policy.seed, "threads": policy.threads, **item_text.model_dump()}

    def compute(self, ctx: Context, day: date) -> StageOutput:
        from aigq_tasks.policy.backbone import load_backbone, make_deterministic, save_policy
        from aigq_tasks.policy.il_sft import train_il_sft

        settings, seed = ctx.settings.item_text, ctx.settings.policy.seed
        make_deterministic(seed, ctx.settings.policy.threads)
        pairs = clicked_pairs(read_logs(ctx, log_window(ctx, day), TABLES))
        if pairs.empty:
            raise AigqError(f"no search up to {day} led to a click on an item: nothing to learn")
        unseen = kept_out(pairs["prompt"])
        known = pairs[~unseen]
        chosen = np.random.default_rng(seed).permutation(len(known))[: settings.samples]
        rows = known.iloc[chosen]
        network, tokenizer = load_backbone(settings.backbone, ITEM_TOKENS)
        samples = [
            PolicySample("", prompt, [query])
            for prompt, query in zip(rows["prompt"], rows["query"], strict=True)
        ]
        history = train_il_sft(network, tokenizer, samples, settings.sft, seed)
        losses = [step["loss"] for step in history if "loss" in step]
        metrics: dict[str, float | str] = {
            "pairs": float(len(pairs)),
            "samples": float(len(rows)),
            "loss_first": round(float(np.mean(losses[:10])), 6),
            "loss_last": round(float(np.mean(losses[-10:])), 6),
            "backbone": settings.backbone,
            **judge(network, tokenizer, pairs[unseen]),
        }
        output = save_policy(network, tokenizer) | {"history.json": to_json(history)}
        return StageOutput(files=output, metrics=metrics)


TABLES = ("items", "searches", "search_clicks")


def clicked_pairs(logs: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """prompt, query (normalised): one row per click on a search result, in log order.

    logs: the TABLES."""
    items = with_prompts(logs["items"])
    clicks = logs["search_clicks"][["event_id", "item_id"]]
    pairs = clicks.merge(logs["searches"][["event_id", "query"]], on="event_id")
    pairs = pairs.merge(items[["item_id", "prompt"]], on="item_id")
    pairs["query"] = [normalize(query) for query in pairs["query"]]
    return pairs.loc[pairs["query"] != "", ["prompt", "query"]].reset_index(drop=True)


def with_prompts(items: pd.DataFrame) -> pd.DataFrame:
    """The items, each once as last seen, with `prompt`: their facets as the model reads them."""
    latest = items.drop_duplicates("item_id", keep="last")
    prompts = [render_item(*facets) for facets in latest[FACETS].itertuples(index=False)]
    return latest.assign(prompt=prompts)


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


class ItemTextsStage:
    """item_id -> text, for every item that the log has named so far."""

    name = "item-texts"
    needs: tuple[str, ...] = ("s3", "mlflow")

    def inputs(self, ctx: Context, day: date) -> dict[str, str]:
        entry = ctx.ledger.parent_of(day)
        inputs = {
            "logs": window_digest(_new_days(ctx, entry, day)),
            "model": _model(ctx, entry, day).digest,
        }
        return inputs if entry is None else inputs | {"release": release_digest(entry)}

    def config(self, ctx: Context) -> dict[str, Any]:
        return {"seed": ctx.settings.policy.seed, "threads": ctx.settings.policy.threads}

    def compute(self, ctx: Context, day: date) -> StageOutput:
        from aigq_tasks.policy.backbone import load_policy, make_deterministic

        entry = ctx.ledger.parent_of(day)
        items = with_prompts(read_logs(ctx, _new_days(ctx, entry, day), ("items",))["items"])
        items["facets"] = items["prompt"].map(facets_digest)
        known = pd.DataFrame(columns=COLUMNS)
        if entry is not None:
            known = table(ctx, model(ctx, entry, self.name), "item_texts")
        new = items[~items["facets"].isin(known["facets"])]
        make_deterministic(ctx.settings.policy.seed, ctx.settings.policy.threads)
        loaded = load_policy(files(ctx, _model(ctx, entry, day)))
        texts = write_texts(*loaded, new["prompt"], progress=True)
        merged = merge_texts(known, items, texts)
        written = pd.Series(list(texts.values()), dtype="str")
        metrics: dict[str, float | str] = {
            "items": float(len(merged)),
            "written": float(len(texts)),
            "not_allowed": float((~written.map(is_allowed).astype(bool)).sum()),
        }
        return StageOutput(files={"item_texts.parquet": to_parquet(merged)}, metrics=metrics)


def merge_texts(known: pd.DataFrame, items: pd.DataFrame, texts: dict[str, str]) -> pd.DataFrame:
    """item_id, facets, text, sorted by item_id: what is known, and the items with the text of
    their facets. Facets that are known keep their text. An item whose text may not be shown has
    no row: it goes by its title.

    known: COLUMNS. items: item_id, prompt, facets. texts: prompt -> text."""
    held = known.drop_duplicates("facets").set_index("facets")["text"].to_dict()
    new = {facets_digest(prompt): text for prompt, text in texts.items() if is_allowed(text)}
    rows = items.assign(text=items["facets"].map(new | held)).dropna(subset="text")
    merged = pd.concat([known, rows[COLUMNS]]).drop_duplicates("item_id", keep="last")
    return merged.astype("str").sort_values("item_id", ignore_index=True)


def _model(ctx: Context, entry: Entry | None, day: date) -> Manifest:
    if entry is None:
        return need(ctx, ItemModelStage.name, day)
    return model(ctx, entry, ItemModelStage.name)


def _new_days(ctx: Context, entry: Entry | None, day: date) -> list[Manifest]:
    """The days of log since the release, all of them before the first."""
    if entry is None:
        return log_window(ctx, day)
    return log_window(ctx, day, (day - entry.day).days)
