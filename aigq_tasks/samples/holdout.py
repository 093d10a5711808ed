"""Which users a day keeps for its gate.

Half of the users, redrawn every day. For the run of day D a held-out user's day D is in no
training sample, no CTR training row and no recall table that the evaluation uses; the other
days of that user are. So the evaluation on day D reads labels that no compared model has seen,
and every user's data is learned from in time.
"""

import hashlib
from collections.abc import Iterable
from datetime import date


def held_out(users: Iterable[str], day: date, share: float, seed: int) -> set[str]:
    """The users whose day is kept for evaluation: each with probability `share`, by hash."""
    return {user for user in users if _draw(user, day, seed) < share}


def _draw(user: str, day: date, seed: int) -> float:
    digest = hashlib.sha256(f"{seed}|{day.isoformat()}|{user}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
