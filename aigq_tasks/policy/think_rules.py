"""What AIGQ-Think may write next, so that every completion can be parsed and served."""

from collections.abc import Sequence
from dataclasses import dataclass, field

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

    def allowed(self) -> torch.Tensor:
        """(B, V) bool: the tokens that may come next; all of them once a row has ended."""
        return torch.stack([self._of_row(row) for row in self.rows])

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

    def _of_row(self, row: _Row) -> torch.Tensor:
        fmt = self.fmt
        if row.ended:
            return torch.ones_like(self.spelling.is_text)
        if row.part is None:
            return self._only([fmt.why])
        if row.part == fmt.why:
            return self._rationale(row)
        if row.part == fmt.interest:
            return self._triggers(row)
        return self._query(row)

    def _rationale(self, row: _Row) -> torch.Tensor:
        allowed = self._text(row, self.limits.rationale_tokens)
        if row.letters:
            allowed[self.fmt.interest] = True
            allowed[self.fmt.why] = row.whys < self.limits.interests
        return allowed

    def _triggers(self, row: _Row) -> torch.Tensor:
        open_lines = [i for i in range(1, row.lines + 1) if i not in row.chosen]
        full = len(row.chosen) >= self.limits.triggers
        allowed = self._only([] if full else [self._behaviors[i] for i in open_lines])
        allowed[self.fmt.queries] = bool(row.chosen)
        return allowed

    def _query(self, row: _Row) -> torch.Tensor:
        allowed = self._text(row, self.limits.query_tokens)
        missing = [
            whole[len(row.letters) :] for whole in row.earlier if whole.startswith(row.letters)
        ]
        for letters in missing:
            allowed[self.spelling.ids.get(letters, [])] = False
        if row.letters:
            allowed[self.fmt.sep] = row.queries + 1 < self.limits.queries
            allowed[self.fmt.interest] = row.pairs < row.whys
            allowed[self.fmt.eos] = row.pairs == row.whys
        return allowed

    def _text(self, row: _Row, most: int) -> torch.Tensor:
        if row.tokens >= most:
            return self._only([])
        spelling = self.spelling
        return (spelling.is_text if row.letters else spelling.has_letters).clone()

    def _only(self, ids: Sequence[int]) -> torch.Tensor:
        allowed = torch.zeros_like(self.spelling.is_text)
        allowed[list(ids)] = True
        return allowed
