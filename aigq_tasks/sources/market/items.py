"""The `items` table: catalogue facets of the items that a day's log mentions."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from aigq_tasks.sources.market.catalogue import attributes_of, load_catalogue
from aigq_tasks.sources.market.lexicon import load_phrasings

FACETS = ["brand_tier", "category", "product_type", "size"]


def items_of(item_ids: Iterable[str]) -> pd.DataFrame:
    """item_id, title, category, attributes (the FACETS that are not empty), sorted by item_id. The
    title is the catalogue's own wording, abbreviations and all."""
    needs = load_catalogue().needs[["need", "category", "product_type"]]
    rows = _products(item_ids).merge(needs, on="need")
    title = rows["brand_tier"].str.cat(rows[["product_type", "category", "size"]], sep=" ")
    table = pd.DataFrame(
        {
            "item_id": rows["product_id"].astype(str),
            "title": title.str.lower().str.strip(),
            "category": rows["category"],
            "attributes": attributes_of(rows, FACETS),
        }
    )
    return table.sort_values("item_id", ignore_index=True)


def common_phrases(item_ids: Iterable[str]) -> dict[str, str]:
    """item_id -> the most common phrasing of its need. Known to the market alone."""
    phrasings, rows = load_phrasings(), _products(item_ids)
    return {
        str(item): phrasings[need][0]
        for item, need in zip(rows["product_id"], rows["need"], strict=True)
    }


def _products(item_ids: Iterable[str]) -> pd.DataFrame:
    wanted = pd.DataFrame({"product_id": np.array(sorted({int(i) for i in item_ids}), "int64")})
    return wanted.merge(load_catalogue().products.astype({"product_id": "int64"}), on="product_id")
