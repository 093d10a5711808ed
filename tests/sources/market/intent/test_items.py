from datetime import date

import pytest

from aigq_tasks.logs.validation import check_rows
from aigq_tasks.sources.market.intent.catalogue import load_catalogue
from aigq_tasks.sources.market.intent.config import IntentConfig
from aigq_tasks.sources.market.intent.items import (
    Usual,
    UsualProducts,
    common_phrases,
    items_of,
    usual_products,
)
from aigq_tasks.sources.market.intent.landing import landed
from aigq_tasks.sources.market.intent.lexicon import load_phrasings

DAY = date(2017, 11, 6)


def test_items_of_a_days_clicks() -> None:
    clicks = landed(DAY, IntentConfig(households=300), 17, None)["item_clicks"]
    items = items_of(clicks["item_id"])
    assert items["item_id"].tolist() == sorted(set(clicks["item_id"]))
    assert check_rows("items", items, DAY).reasons == {}
    title = items.set_index("item_id")["title"]
    assert title.loc[clicks["item_id"]].tolist() == clicks["title"].tolist()
    parts = items["attributes"].str.split("; ")
    assert set(parts.str[0]) == {"store brand", "name brand"}
    assert parts.str[1].tolist() == items["category"].tolist()
    brand, category, product_type, size = parts[0]
    assert items["title"][0] == " ".join([brand, product_type, category, size]).lower()


def test_only_the_market_knows_the_common_phrase_of_an_item() -> None:
    products = load_catalogue().products.iloc[:50]
    phrases = common_phrases(products["product_id"].astype(str))
    own = {
        str(product): load_phrasings()[need][0]
        for product, need in zip(products["product_id"], products["need"], strict=True)
    }
    assert phrases == own


def test_a_usual_product_is_picked_by_its_share() -> None:
    milk = (Usual(7, 1.5), Usual(8, 2.0))
    usual = UsualProducts({3: milk}, {3: (0.6, 1.0)})
    assert [usual.pick(3, draw).product for draw in (0.0, 0.59, 0.6, 0.999)] == [7, 7, 8, 8]


def test_usual_products_are_the_commonest_of_their_need() -> None:
    usual, lines = usual_products(), load_catalogue().lines
    need = int(lines["need"].mode()[0])
    own = lines[lines["need"] == need]
    counts = own["product_id"].value_counts()
    top = usual.products[need]
    assert len(top) == 5
    assert [counts[item.product] for item in top] == counts.iloc[:5].tolist()
    paid = own.loc[own["product_id"] == top[0].product, "value"]
    assert top[0].value == pytest.approx(paid.median())
    assert usual.reach[need][0] == pytest.approx(counts.iloc[0] / counts.iloc[:5].sum())
