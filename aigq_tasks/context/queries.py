"""What a query is: its normal form, and which queries may ever be shown."""

import re
from functools import cache
from importlib import resources
from itertools import pairwise

MIN_CHARS, MAX_CHARS, MAX_WORDS = 2, 40, 6
MAX_QUERY_TOKENS = 16  # under the rules of served lists a query ends by then
_NOT_QUERY = re.compile(r"[^a-z0-9]+")


def normalize(text: str) -> str:
    """Lower case, only a-z and 0-9, single spaces, no space at the ends.

    Every query that is compared, counted, cached or shown anywhere goes through here.
    """
    return _NOT_QUERY.sub(" ", text.lower()).strip()


@cache
def blocklist() -> frozenset[str]:
    """Words that no shown query may contain (`blocklist.txt`, one a line, # comments)."""
    text = resources.files("aigq_tasks.context").joinpath("blocklist.txt").read_text("utf-8")
    lines = (line.split("#")[0].strip() for line in text.splitlines())
    return frozenset(line for line in lines if line)


def is_allowed(query: str) -> bool:
    """Whether a normalised query may be shown: length 2-40 characters, at most 6 words,
    and neither a word nor a pair of words of it on the blocklist."""
    words = query.split()
    if not MIN_CHARS <= len(query) <= MAX_CHARS or len(words) > MAX_WORDS:
        return False
    pairs = {f"{a} {b}" for a, b in pairwise(words)}
    return blocklist().isdisjoint(pairs.union(words))
