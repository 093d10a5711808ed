"""Item-to-text (paper 3.2.1): what an item is, as a prompt; what a shopper calls it, as a target.

The catalogue's facets are long and abbreviated ("sft drnk sngl srv btl carb"); in a history a
shopper's words for the item say the same with fewer tokens.
"""

import hashlib

from aigq_tasks.context.queries import normalize
from aigq_tasks.context.tokens import SEP

ITEM, TEXT = "<item>", "<text>"
ITEM_TOKENS = (ITEM, TEXT)


def render_item(brand_tier: str, category: str, product_type: str, size: str) -> str:
    """The prompt: all facets, normalised, the empty ones left out; ends with <text>."""
    facets = [normalize(facet) for facet in (brand_tier, category, product_type, size)]
    return f"{ITEM}{SEP.join(facet for facet in facets if facet)}{TEXT}"


def facets_digest(prompt: str) -> str:
    """SHA-256 (hex) of a prompt: items with the same one share a text."""
    return hashlib.sha256(prompt.encode()).hexdigest()
