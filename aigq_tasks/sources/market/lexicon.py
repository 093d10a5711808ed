"""How shoppers phrase needs: the hand-written lexicon for the common ones, a rule for the rest.

`lexicon.csv` holds 2-4 phrasings, most common first, for the 888 (category, product type) pairs
that cover 95% of basket lines. The rule spells out the catalogue's abbreviations.
"""

import re
from functools import cache
from importlib import resources

import numpy as np
import pandas as pd

from aigq_tasks.context.queries import normalize
from aigq_tasks.sources.market.catalogue import load_catalogue

# How often shoppers use the first, second... phrasing of a need.
PHRASING_SHARES = (0.46, 0.28, 0.16, 0.10)
# What some shoppers add after the phrase, always the same for the same need of a household.
MODIFIERS = ("store brand", "on sale", "family size", "organic")

_SPELLED = {
    "frzn": "frozen", "frz": "frozen", "sft": "soft", "drnk": "drink", "drnks": "drinks",
    "dnr": "dinner", "dnrs": "dinners", "ss": "single serve", "sngl": "single", "srv": "serve",
    "mlt": "multi", "pk": "pack", "crbntd": "carbonated", "veg": "vegetable", "dsh": "dish",
    "swt": "sweet", "sw": "sweet", "gds": "goods", "chix": "chicken", "frd": "fried",
    "prep": "prepared", "fd": "food", "jce": "juice", "conc": "concentrate", "reg": "regular",
    "flvr": "flavored", "flvrd": "flavored", "whl": "whole", "pnt": "peanut", "btr": "butter",
    "mxs": "mixes", "sald": "salad", "drsng": "dressing", "sndwch": "sandwich",
    "sprd": "spread", "refrgratd": "refrigerated", "bkd": "baked", "bn": "bean",
    "brkfst": "breakfast", "wtr": "water", "gngr": "ginger", "trsh": "trash", "bg": "bag",
    "pkld": "pickled", "deod": "deodorant", "plstc": "plastic", "clnrs": "cleaners",
    "choc": "chocolate", "bev": "beverage", "tiss": "tissue", "saus": "sausage",
    "beerale": "beer", "lqd": "liquid", "pwdr": "powder", "shamp": "shampoo", "mw": "microwave",
}  # fmt: skip
_NOISE = frozenset({"misc", "miscellaneous", "etc", "all", "other", "only", "incl", "inc"})
_NOISE |= {"na", "the", "and", "or", "excp", "exc"}


def _words(text: str) -> list[str]:
    text = re.sub(r"\(.*", "", text.lower())
    spelled = (_SPELLED.get(word, word) for word in normalize(text).split())
    words = [word for group in spelled for word in group.split()]
    return [word for word in words if len(word) > 1 and word not in _NOISE]


def phrasings_by_rule(category: str, product_type: str) -> tuple[str, ...]:
    """One or two phrasings spelled from the catalogue's own words, at most four words each."""
    kind = list(dict.fromkeys(_words(product_type)))[:4]
    shelf = list(dict.fromkeys(_words(category)))
    both = list(dict.fromkeys([*kind[:3], *shelf[:1]]))
    phrases = [" ".join(kind), " ".join(both), " ".join(shelf[:3])]
    fit = [phrase for phrase in dict.fromkeys(phrases) if 3 <= len(phrase) <= 36]
    return tuple(fit[:2]) or (normalize(category)[:36].strip(),)


@cache
def load_phrasings() -> tuple[tuple[str, ...], ...]:
    """Phrasings of every need, by need number (see `Catalogue.needs`)."""
    file = resources.files("aigq_tasks.sources.market").joinpath("lexicon.csv")
    with resources.as_file(file) as path:
        table = pd.read_csv(path, keep_default_na=False)
    keys = zip(table["category"], table["product_type"], strict=True)
    written = dict(zip(keys, table["phrasings"].str.split("|"), strict=True))
    needs = load_catalogue().needs
    return tuple(
        tuple(written.get((category, kind)) or phrasings_by_rule(category, kind))
        for category, kind in zip(needs["category"], needs["product_type"], strict=True)
    )


def uniform(seed: int, salt: int, *keys: np.ndarray) -> np.ndarray:
    """Stable uniforms in [0, 1) from integer keys (splitmix64): float64, shape of the keys.

    A household's habits must not depend on which day is replayed or in which order.
    """
    mixed = np.full(np.broadcast_shapes(*(np.shape(key) for key in keys)), seed, np.uint64)
    with np.errstate(over="ignore"):
        for key in (np.uint64(salt), *keys):
            mixed = mixed ^ np.asarray(key).astype(np.uint64)
            mixed = mixed + np.uint64(0x9E3779B97F4A7C15)
            mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            mixed = mixed ^ (mixed >> np.uint64(31))
    return (mixed >> np.uint64(11)).astype(np.float64) / float(1 << 53)


def choose_phrasing(need: int, draw: float) -> str:
    """The phrasing that a uniform draw picks for a need, by PHRASING_SHARES."""
    options = load_phrasings()[need]
    shares = np.cumsum(PHRASING_SHARES[: len(options)])
    return options[int(np.searchsorted(shares / shares[-1], draw, side="right"))]
