"""What AIGQ-Think may write next, so that every completion can be parsed and served."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch  # noqa: TID253  rules are masks over the vocabulary

from aigq_tasks.context.interests import ThinkLimits
from aigq_tasks.policy.generate import Spelling
from aigq_tasks.policy.think import ThinkFormat


@dataclass
class _Row:
    """How far one completion is. part: the marker id of the open part, None before the first.
    tokens, letters: of the open part. chosen: triggers of the open pair. earlier: letters of all
    whole queries; queries: whole ones of the open pair."""

    lines: int
    part: int | None = None
    tokens: int = 0
    letters: str = ""
    whys: int = 0
    pairs: int = 0
    chosen: set[int] = field(default_factory=set)
    earlier: list[str] = field(default_factory=list)
    queries: int = 0
    ended: bool = False


_ANY, _NONE, _BEGIN, _TEXT = range(4)  # what a choice starts from: see ThinkRules._bases


class _Choice(NamedTuple):
    """A row's next token: those of a base, more, and without the banned ones."""

    base: int
    more: Sequence[int] = ()
    banned: Sequence[int] = ()


class ThinkRules:
    """Bans on the next token of every row, for completions of the layout of `policy.think`.

    - Rationales first, at least one; then as many pairs as there are rationales; then the end.
    - A trigger is a line that the row's prompt has, once per pair.
    - Rationales and queries have a letter, and no query repeats (see `ListRules`).
    - Every part keeps its bound in `ThinkLimits`.
    """

    def __init__(
        self, fmt: ThinkFormat, spelling: Spelling, lines: Sequence[int], limits: ThinkLimits
    ) -> None:
        """lines: history lines in the prompt of each row, at least one each."""
        self.fmt, self.spelling, self.limits = fmt, spelling, limits
        self.rows = [_Row(number) for number in lines]
        self._behaviors = {index: token for token, index in fmt.behaviors.items()}
        text = spelling.is_text
        bases = [torch.ones_like(text), torch.zeros_like(text), spelling.has_letters, text]
        self._bases = torch.stack(bases)

    def allowed(self) -> torch.Tensor:
        """(B, V) bool: the tokens that may come next; all of them once a row has ended."""
        choices = [self._of_row(row) for row in self.rows]
        allowed = self._bases[[choice.base for choice in choices]]
        for value in (True, False):
            cells = [
                (i, token)
                for i, choice in enumerate(choices)
                for token in (choice.more if value else choice.banned)
            ]
            if cells:
                allowed[tuple(torch.tensor(cells, device=allowed.device).T)] = value
        return allowed

    def observe(self, tokens: Sequence[int]) -> None:
        """Take in the token chosen for each row; what follows the end is ignored."""
        for row, token in zip(self.rows, tokens, strict=True):
            row.ended = row.ended or token == self.fmt.eos
            if not row.ended:
                self._take(row, token)

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these rows of the batch only."""
        self.rows = [self.rows[i] for i in rows]

    def _take(self, row: _Row, token: int) -> None:
        fmt = self.fmt
        if token in (fmt.why, fmt.interest, fmt.queries, fmt.sep):
            if row.part in (fmt.queries, fmt.sep):
                row.earlier.append(row.letters)
                row.queries += 1
            row.part, row.tokens, row.letters = token, 0, ""
            row.whys += token == fmt.why
            if token == fmt.interest:
                row.pairs, row.chosen, row.queries = row.pairs + 1, set(), 0
        else:
            row.tokens += 1
            if token in fmt.behaviors:
                row.chosen.add(fmt.behaviors[token])
            else:
                row.letters += self.spelling.letters.get(token, "")

    def _of_row(self, row: _Row) -> _Choice:
        fmt = self.fmt
        if row.ended:
            return _Choice(_ANY)
        if row.part is None:
            return _Choice(_NONE, [fmt.why])
        if row.part == fmt.why:
            return self._rationale(row)
        if row.part == fmt.interest:
            return self._triggers(row)
        return self._query(row)

    def _rationale(self, row: _Row) -> _Choice:
        more = [self.fmt.interest] if row.letters else []
        if row.letters and row.whys < self.limits.interests:
            more.append(self.fmt.why)
        return _Choice(_text(row, self.limits.rationale_tokens), more)

    def _triggers(self, row: _Row) -> _Choice:
        more = [self.fmt.queries] if row.chosen else []
        if len(row.chosen) < self.limits.triggers:
            open_lines = (i for i in range(1, row.lines + 1) if i not in row.chosen)
            more.extend(self._behaviors[i] for i in open_lines)
        return _Choice(_NONE, more)

    def _query(self, row: _Row) -> _Choice:
        fmt, written = self.fmt, len(row.letters)
        missing = [whole[written:] for whole in row.earlier if whole.startswith(row.letters)]
        banned = [token for letters in missing for token in self.spelling.ids.get(letters, ())]
        base = _text(row, self.limits.query_tokens)
        if not row.letters:
            return _Choice(base, [], banned)
        more = [fmt.interest if row.pairs < row.whys else fmt.eos]
        if row.queries + 1 < self.limits.queries:
            more.append(fmt.sep)
        return _Choice(base, more, banned)


def _text(row: _Row, most: int) -> int:
    """Which texts may go on the open part: none where it is full, none without a letter at its
    beginning."""
    if row.tokens >= most:
        return _NONE
    return _TEXT if row.letters else _BEGIN
