"""The `items` table: catalogue facets of the items that a day's log mentions."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from aigq_tasks.market.catalogue import load_catalogue
from aigq_tasks.market.visits import item_text


def items_of(item_ids: Iterable[str]) -> pd.DataFrame:
    """item_id, title, category, product_type, brand_tier, size, text, sorted by item_id.

    The title is the catalogue's own wording (abbreviations and all); `text` is the short text a
    shopper sees.
    """
    catalogue = load_catalogue()
    wanted = pd.DataFrame({"product_id": np.array(sorted({int(i) for i in item_ids}), "int64")})
    rows = wanted.merge(catalogue.products.astype({"product_id": "int64"}), on="product_id")
    rows = rows.merge(catalogue.needs[["need", "category", "product_type"]], on="need")
    title = rows["brand_tier"].str.cat(rows[["product_type", "category", "size"]], sep=" ")
    table = pd.DataFrame(
        {
            "item_id": rows["product_id"].astype(str),
            "title": title.str.lower().str.strip(),
            "category": rows["category"],
            "product_type": rows["product_type"],
            "brand_tier": rows["brand_tier"],
            "size": rows["size"],
            "text": [item_text(int(need)) for need in rows["need"]],
        }
    )
    return table.sort_values("item_id", ignore_index=True)
