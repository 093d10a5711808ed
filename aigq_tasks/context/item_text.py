"""Item-to-text (paper 3.2.1): what an item is, as a prompt; what a shopper calls it, as a target.

A catalogue's attributes are long and abbreviated ("sft drnk sngl srv btl carb"); in a history a
shopper's words for the item say the same with fewer tokens.
"""

import hashlib

from aigq_tasks.context.attributes import attribute_parts
from aigq_tasks.context.queries import normalize
from aigq_tasks.context.tokens import SEP

ITEM, TEXT = "<item>", "<text>"
ITEM_TOKENS = (ITEM, TEXT)


def render_item(attributes: str) -> str:
    """The prompt: the facets of an item, which are the parts of its attributes, normalised, the
    empty ones left out; ends with <text>."""
    facets = [normalize(part) for part in attribute_parts(attributes)]
    return f"{ITEM}{SEP.join(facet for facet in facets if facet)}{TEXT}"


def facets_digest(prompt: str) -> str:
    """SHA-256 (hex) of a prompt: items with the same one share a text."""
    return hashlib.sha256(prompt.encode()).hexdigest()
