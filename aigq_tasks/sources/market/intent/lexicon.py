"""How shoppers phrase needs: the hand-written lexicon for the common ones, a rule for the rest.

`lexicon.csv` holds 2-4 phrasings, most common first, for the 888 (category, product type) pairs
that cover 95% of basket lines. The rule spells out the catalogue's abbreviations.
"""

import re
from collections.abc import Sequence
from functools import cache
from importlib import resources

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aigq_tasks.context.queries import normalize
from aigq_tasks.sources.market.intent.catalogue import load_catalogue

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
    """Phrasings of every need, by need number (see `Catalogue.needs`), the head first: the first
    of its phrasings that no commoner need has as its head, so that names tell needs apart."""
    file = resources.files("aigq_tasks.sources.market").joinpath("lexicon.csv")
    with resources.as_file(file) as path:
        table = pd.read_csv(path, keep_default_na=False)
    keys = zip(table["category"], table["product_type"], strict=True)
    written = dict(zip(keys, table["phrasings"].str.split("|"), strict=True))
    needs = load_catalogue().needs
    return told_apart(
        [
            tuple(written.get((category, kind)) or phrasings_by_rule(category, kind))
            for category, kind in zip(needs["category"], needs["product_type"], strict=True)
        ],
        needs["baskets"].to_numpy(),
    )


def told_apart(
    phrasings: Sequence[tuple[str, ...]], baskets: NDArray[np.int64]
) -> tuple[tuple[str, ...], ...]:
    """Each need's phrasings with its head in front. The commonest need chooses first; one that has
    no phrasing of its own left keeps its first."""
    heads: set[str] = set()
    ordered = list(phrasings)
    for need in np.argsort(-baskets, kind="stable").tolist():
        own = phrasings[need]
        head = next((phrase for phrase in own if phrase not in heads), own[0])
        heads.add(head)
        ordered[need] = (head, *(phrase for phrase in own if phrase != head))
    return tuple(ordered)
