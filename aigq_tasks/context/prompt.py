"""From behaviours to a prompt, and from a query list to a target (paper 3.2, Eq 5-6).

A prompt is profile words, then one line per distinct content of the history, oldest first:
time bucket, behaviour type, repeat count and interval (if repeated), content. Repeats are
folded into one line: it is the count and the interval that tell what is due again, and the
prompt stays short. There is no instruction text: fine-tuning has internalised the task.
"""

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pandas as pd

from aigq_tasks.context.attributes import attribute_parts
from aigq_tasks.context.tokens import (
    HINTS,
    HISTORY,
    KINDS,
    PROFILE,
    SEP,
    THINK,
    behavior_token,
    days_ago_token,
    every_token,
    times_token,
)

# A line's weight halves about every month; repeats add to it. Decides which lines are kept.
_FADE_DAYS = 45.0
_STRENGTH = {"search": 2, "hint_click": 1, "item_click": 0}

# The plain-text schema that the special tokens replace.
INSTRUCTION = "suggest search queries"
_SPELT = (
    (PROFILE, " user "),
    (r"<(\d+)_day_ago>", r" \1 days ago "),
    (r"<(\d+)_time>", r" \1 times "),
    (r"<every_(\d+)_day>", r" every \1 days "),
    ("<search>", " searched "),
    ("<item_click>", " clicked item "),
    ("<hint_click>", " clicked hint "),
)


@dataclass(frozen=True)
class HistoryLine:
    """One distinct content of a user's history: whole days since the last time, behaviour type
    (the strongest seen), number of occurrences, mean days between them (0.0 if only one)."""

    content: str
    kind: str
    days_ago: int
    times: int
    every: float

    def render(self) -> str:
        again = times_token(self.times) + every_token(self.every) if self.times > 1 else ""
        return f"{days_ago_token(self.days_ago)}{KINDS[self.kind]}{again}{self.content}"


@dataclass(frozen=True)
class Shopper:
    """What is known of a user at some moment: profile words ("" if none) and history lines,
    oldest first. Whoever names a line counts from 1."""

    user_id: str
    profile: str
    lines: tuple[HistoryLine, ...]

    def prompt(self) -> str:
        """The prompt of AIGQ-Direct."""
        return render_prompt(self.profile, self.lines)

    def think_prompt(self) -> str:
        """The prompt of AIGQ-Think."""
        return render_think_prompt(self.profile, self.lines)


def history_lines(
    times: Iterable[np.datetime64],
    kinds: Iterable[str],
    contents: Iterable[str],
    now: datetime | np.datetime64,
    limit: int,
) -> list[HistoryLine]:
    """Aggregate one user's behaviours before `now` (exclusive) into at most `limit` lines.

    times, kinds, contents: parallel, in time order. The lines kept are those with the largest
    times · exp(−days_ago / 45); the result is ordered oldest first, ties by content.
    """
    moment = np.datetime64(now, "us")  # type: ignore[call-overload]  # stubs: no datetime64 here
    seen: dict[str, list[tuple[np.datetime64, str]]] = {}
    for time, kind, content in zip(times, kinds, contents, strict=True):
        if time < moment:
            seen.setdefault(content, []).append((time, kind))
    lines = [_fold(content, events, moment) for content, events in seen.items()]
    lines.sort(key=lambda e: (-e.times * math.exp(-e.days_ago / _FADE_DAYS), e.content))
    return sorted(lines[:limit], key=lambda line: (-line.days_ago, line.content))


def _fold(content: str, events: list[tuple[np.datetime64, str]], now: np.datetime64) -> HistoryLine:
    days = [int((now - time) / np.timedelta64(1, "D")) for time, _ in events]
    kind = max((kind for _, kind in events), key=_STRENGTH.__getitem__)
    every = (days[0] - days[-1]) / (len(days) - 1) if len(days) > 1 else 0.0
    return HistoryLine(content, kind, days[-1], len(days), every)


def render_prompt(profile: str, lines: Iterable[HistoryLine]) -> str:
    """The whole prompt; ends with <hints>, after which the model writes the list."""
    return f"{PROFILE}{profile}{HISTORY}{''.join(line.render() for line in lines)}{HINTS}"


def render_think_prompt(profile: str, lines: Iterable[HistoryLine]) -> str:
    """The prompt of AIGQ-Think: every line begins with its number (1-based), which triggers
    refer to; ends with <think>."""
    numbered = (f"{behavior_token(i)}{line.render()}" for i, line in enumerate(lines, 1))
    return f"{PROFILE}{profile}{HISTORY}{''.join(numbered)}{THINK}"


def plain_text(prompt: str) -> str:
    """A prompt with its special tokens spelt out, the schema that they replace (paper 3.2): an
    instruction, the profile, then a line per content with number, time, behaviour and text.

    "<profile>65+<history><3_day_ago><search>tea<hints>" becomes
    "suggest search queries user 65+ history 1 3 days ago searched tea queries".
    """
    head, _, rest = prompt.partition(HISTORY)
    rest = re.sub(rf"<b_\d+>|{HINTS}|{THINK}", "", rest)
    lines = re.split(r"(?=<\d+_day_ago>)", rest)
    numbered = [f" {number} {line}" for number, line in enumerate(lines[1:], 1)]
    spelt = f"{INSTRUCTION} {head} history{''.join(numbered)} queries"
    for pattern, words in _SPELT:
        spelt = re.sub(pattern, words, spelt)
    return " ".join(spelt.split())


def render_target(queries: Sequence[str]) -> str:
    """`q1<sep>q2<sep>...qn`; the end-of-sequence token is added by the trainer's tokenizer."""
    return SEP.join(queries)


def profile_words(users: pd.DataFrame) -> dict[str, str]:
    """user_id -> profile in words ("65+ 35-49k 2 adults no kids"), "" where nothing is known.

    users: user_id, attributes."""
    columns = users["user_id"], users["attributes"]
    return {user: " ".join(attribute_parts(known)) for user, known in zip(*columns, strict=True)}


@dataclass(frozen=True)
class Histories:
    """Behaviours grouped by user for quick prompt building; made once per table."""

    groups: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]

    @classmethod
    def of(cls, behaviours: pd.DataFrame) -> "Histories":
        """behaviours: user_id, time, kind, content, sorted by (user_id, time)."""
        users = behaviours["user_id"].to_numpy(dtype=object)
        if not len(users):
            return cls({})
        starts = np.flatnonzero(np.r_[True, users[1:] != users[:-1]])
        columns = [behaviours[c].to_numpy() for c in ("time", "kind", "content")]
        spans = zip(starts, [*starts[1:], len(users)], strict=True)
        return cls({users[a]: tuple(c[a:b] for c in columns) for a, b in spans})  # type: ignore[misc]

    def lines(self, user: str, now: datetime | np.datetime64, limit: int) -> list[HistoryLine]:
        """The user's history lines before `now`; [] for an unknown user."""
        if user not in self.groups:
            return []
        times, kinds, contents = self.groups[user]
        return history_lines(times, kinds, contents, now, limit)

    def shopper(
        self, user: str, profile: str, now: datetime | np.datetime64, limit: int
    ) -> Shopper:
        """The user as known before `now`."""
        return Shopper(user, profile, tuple(self.lines(user, now, limit)))

    def users(self) -> Iterator[str]:
        return iter(self.groups)
