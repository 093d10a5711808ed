"""Free attributes of users and items: what a source of the log says of them, in its own words.

One text of parts, "65+; 35-49k; 2 adults no kids". What a part means, and which parts there are,
is the source's business; whoever reads them takes them as words.
"""

from collections.abc import Iterable

SEPARATOR = "; "


def join_attributes(parts: Iterable[str]) -> str:
    """The text of some parts, in their order, the empty ones left out. No part may hold "; "."""
    return SEPARATOR.join(part for part in parts if part)


def attribute_parts(attributes: str) -> list[str]:
    """Inverse of `join_attributes`: the parts, [] for an empty text."""
    return [part for part in attributes.split(SEPARATOR) if part]
