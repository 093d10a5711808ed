"""The `items` table: catalogue facets of the items that a day's log mentions; and which items a
need is usually met with."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd

from aigq_tasks.sources.market.intent.catalogue import attributes_of, load_catalogue
from aigq_tasks.sources.market.intent.lexicon import load_phrasings

FACETS = ["brand_tier", "category", "product_type", "size"]
USUAL = 5  # products of a need that those look at who do not buy it


@dataclass(frozen=True)
class Usual:
    """A product, and what is mostly paid for it."""

    product: int
    value: float


@dataclass(frozen=True)
class UsualProducts:
    """The USUAL commonest products of each need, by need, and their cumulated shares."""

    products: dict[int, tuple[Usual, ...]]
    reach: dict[int, tuple[float, ...]]

    def pick(self, need: int, draw: float) -> Usual:
        """By how often each is bought. KeyError for a need that is in no basket."""
        below = sum(share <= draw for share in self.reach[need])
        return self.products[need][min(below, len(self.products[need]) - 1)]


@cache
def usual_products() -> UsualProducts:
    """Of the whole year, once per process."""
    lines = load_catalogue().lines
    found = lines.groupby(["need", "product_id"])["value"].agg(["size", "median"]).reset_index()
    found = found.sort_values(["need", "size", "product_id"], ascending=[True, False, True])
    first = found.groupby("need").head(USUAL)
    share = first["size"] / first.groupby("need")["size"].transform("sum")
    first = first.assign(reach=share.groupby(first["need"]).cumsum())
    products: dict[int, tuple[Usual, ...]] = {}
    reach: dict[int, tuple[float, ...]] = {}
    columns = (first[name].tolist() for name in ("need", "product_id", "median", "reach"))
    for need, product, value, reached in zip(*columns, strict=True):
        products[need] = (*products.get(need, ()), Usual(product, value))
        reach[need] = (*reach.get(need, ()), reached)
    return UsualProducts(products, reach)


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
