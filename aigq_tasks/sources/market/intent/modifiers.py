"""What shoppers add to the name of a need: attributes, brands, sizes.

Sizes are the catalogue's. The brands are invented (the data set has none), and so are the
attributes.
"""

from functools import cache

import numpy as np

from aigq_tasks.context.queries import normalize
from aigq_tasks.sources.market.intent.catalogue import load_catalogue
from aigq_tasks.sources.market.intent.draws import Purpose, uniform

FOOD_ATTRIBUTES = (
    "organic", "on sale", "family size", "fresh", "low sodium", "fat free", "gluten free", "kids",
    "sugar free", "bulk", "mini", "natural", "low fat", "value pack", "local", "vegan", "premium",
    "no salt", "party size", "snack size", "light", "cheap", "best", "healthy",
)  # fmt: skip
OTHER_ATTRIBUTES = (
    "on sale", "family size", "value pack", "bulk", "mini", "natural", "kids", "premium", "cheap",
    "best", "travel size", "unscented", "sensitive", "extra strength", "refill", "disposable",
    "for men", "for women", "heavy duty", "eco", "scented", "white", "blue", "large",
)  # fmt: skip
STORE_BRAND = "store brand"
BRANDS = (
    "oakfield", "sunny acre", "marlow", "hillcrest", "bluejay", "redbarn", "ashford", "velmora",
    "tidewell", "corabel", "pinehurst", "larksong", "goldleaf", "mapleton", "fairbrook", "nordane",
    "quillet", "amberly", "stonemill", "brightway", "havenly", "copperfox", "willowby", "zestora",
)  # fmt: skip
ATTRIBUTES_OF_NEED, BRANDS_OF_NEED, SIZES_OF_NEED = 12, 5, 8
_FIXED = 0  # the wordings of a need are the same in every market, whatever its seed


@cache
def modifiers_of(need: int) -> tuple[tuple[str, ...], ...]:
    """What is added to the names of a need: its attributes, brands and sizes."""
    needs = load_catalogue().needs
    attributes = FOOD_ATTRIBUTES if needs["food"].iat[need] else OTHER_ATTRIBUTES
    attribute = uniform(_FIXED, Purpose.PARTS, need, np.arange(len(attributes)), 1)
    # Needs of one category share their brands.
    shelf = _shelves()[need]
    brand = uniform(_FIXED, Purpose.PARTS, shelf, np.arange(len(BRANDS)), 2)
    first = [attributes[i] for i in np.argsort(attribute)[:ATTRIBUTES_OF_NEED]]
    second = [BRANDS[i] for i in np.argsort(brand)[:BRANDS_OF_NEED]]
    return tuple(first), (STORE_BRAND, *second), _sizes()[need]


@cache
def modifier_words() -> frozenset[str]:
    """Every word of anything that may be added."""
    sizes = {size for own in _sizes() for size in own}
    added = {*FOOD_ATTRIBUTES, *OTHER_ATTRIBUTES, STORE_BRAND, *BRANDS, *sizes}
    return frozenset(word for text in added for word in text.split())


@cache
def _shelves() -> list[int]:
    categories = load_catalogue().needs["category"]
    return categories.astype("category").cat.codes.tolist()


@cache
def _sizes() -> list[tuple[str, ...]]:
    """The commonest package sizes of each need's products ("12 oz"), as a shopper types them."""
    products = load_catalogue().products
    typed = products[products["size"].str.fullmatch(r"\d+ [a-z]+")]
    counts = typed.groupby(["need", "size"]).size().rename("products").reset_index()
    counts = counts.sort_values(["need", "products", "size"], ascending=[True, False, True])
    first = counts.groupby("need").head(SIZES_OF_NEED)
    own: list[list[str]] = [[] for _ in range(len(load_catalogue().needs))]
    for need, size in zip(first["need"].tolist(), first["size"].tolist(), strict=True):
        own[need].append(normalize(size))
    return [tuple(sizes) for sizes in own]
