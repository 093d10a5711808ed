"""Batched generation of query lists with a key-value cache, for any Hugging Face causal LM.

One plain loop serves both uses: constrained lists for the cache and the evaluation
(`generate_lists`), and free rollouts for IL-GRPO (`decode` without rules).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch  # noqa: TID253  every function here runs a model
from rich.progress import track
from torch.nn.utils.rnn import pad_sequence  # noqa: TID253

from aigq_tasks.context.queries import MAX_QUERY_TOKENS, normalize
from aigq_tasks.policy.config import LISTS_AT_ONCE
from aigq_tasks.policy.parse import ListFormat, ParsedList, parse_completions
from aigq_tasks.policy.steps import steps_of


class Sampling(NamedTuple):
    """Draw each token from the top_k most likely ones at a temperature.

    noise: (B, T) float64 in [0, 1), what decides the t-th token of each row (see `noise`). With the
    draws fixed beforehand a row is written alike in any batch and in any process."""

    temperature: float
    top_k: int
    noise: torch.Tensor


def noise(seed: int, first: int, rows: int, tokens: int) -> torch.Tensor:
    """(rows, tokens) float64 uniforms in [0, 1), those of the rows numbered from `first` on: a row
    is drawn from its number and the seed alone (Philox)."""
    drawn = [
        np.random.Generator(np.random.Philox(key=[seed, row])).random(tokens)
        for row in range(first, first + rows)
    ]
    return torch.from_numpy(np.array(drawn).reshape(rows, tokens))


class TextFormat(Protocol):
    """What a spelling needs of a format: the ids that may stand in a text."""

    @property
    def text(self) -> frozenset[int]: ...


class Rules(Protocol):
    """Bans on the next token of every row of a batch."""

    def allowed(self) -> torch.Tensor:
        """(B, V) bool."""
        ...

    def observe(self, tokens: Sequence[int]) -> None: ...

    def keep(self, rows: Sequence[int]) -> None: ...


class Watcher(Protocol):
    """Sees every decoding step: rows (n,), numbers of the prompts that go on; logits (n, V), rules
    applied; chosen (n,), the next tokens."""

    def __call__(self, rows: torch.Tensor, logits: torch.Tensor, chosen: torch.Tensor) -> None: ...


class TokenScores:
    """A Watcher that keeps log-probability and entropy of each written token, at a temperature,
    so that scoring the completions again by another forward pass is not needed."""

    def __init__(self, rows: int, temperature: float) -> None:
        self.temperature = temperature
        self._logps: list[list[torch.Tensor]] = [[] for _ in range(rows)]
        self._entropies: list[list[torch.Tensor]] = [[] for _ in range(rows)]

    def __call__(self, rows: torch.Tensor, logits: torch.Tensor, chosen: torch.Tensor) -> None:
        logps = (logits.float() / self.temperature).log_softmax(dim=-1)
        entropies = torch.special.entr(logps.exp()).sum(dim=-1)  # 0 where a token is banned
        own = logps.gather(-1, chosen[:, None]).squeeze(-1)
        for row, logp, entropy in zip(rows.tolist(), own, entropies, strict=True):
            self._logps[row].append(logp)
            self._entropies[row].append(entropy)

    def tables(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probabilities and entropies, each (B, T) float32, 0 beyond the end of a row."""
        logps, entropies = (
            pad_sequence([torch.stack(row) for row in kept], batch_first=True)
            for kept in (self._logps, self._entropies)
        )
        return logps, entropies


def generate_lists(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[str],
    k: int,
    batch_size: int = LISTS_AT_ONCE,
    *,
    exactly_k: bool = True,
    max_query_tokens: int = MAX_QUERY_TOKENS,
    progress: bool = False,
) -> list[ParsedList]:
    """One list of up to k queries per prompt, in the order of the prompts (see `ListRules`).

    Greedy. Prompts of similar length share a batch; equal prompts share their prefill. The same
    model and prompts give the same lists on one machine and thread count. exactly_k suppresses the
    end until k queries are written; without it the model may end a list earlier. A query ends
    after max_query_tokens at the latest, so no list is cut off.
    """
    fmt = ListFormat.of(tokenizer)
    spelling = Spelling.of(model, tokenizer, fmt)
    completions = generate(
        model,
        tokenizer,
        prompts,
        lambda rows: ListRules(fmt, spelling, len(rows), k, exactly_k, max_query_tokens),
        max_new_tokens=k * (max_query_tokens + 1),
        batch_size=batch_size,
        progress=progress,
    )
    return parse_completions(completions, tokenizer, k)


def generate(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[str],
    rules_of: Callable[[Sequence[int]], Rules | None],
    *,
    max_new_tokens: int,
    batch_size: int,
    progress: bool = False,
) -> list[list[int]]:
    """The ids that the model writes greedily for each prompt, the end included, in batches of
    similar length. rules_of: numbers of the prompts in a batch -> the rules of that batch."""
    ids = tokenizer(list(prompts))["input_ids"] if prompts else []
    order = sorted(range(len(ids)), key=lambda i: (len(ids[i]), i))
    batches = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    completions: list[list[int]] = [[] for _ in ids]
    for batch in track(batches, "generating", disable=not progress):
        written = decode(
            model,
            [ids[i] for i in batch],
            tokenizer.eos_token_id,
            max_new_tokens=max_new_tokens,
            rules=rules_of(batch),
        )
        for i, completion in zip(batch, written, strict=True):
            completions[i] = completion
    return completions


class Spelling:
    """What each id of a model's output writes, as letters: a-z and 0-9 without spaces.

    letters: id -> its letters; ids: letters -> the ids that write exactly these. is_text and
    has_letters: (V,) bool, the ids that may stand inside a query and those that may begin one.
    """

    def __init__(self, tokenizer: Any, fmt: TextFormat, width: int, device: torch.device) -> None:
        text = sorted(fmt.text)
        pieces = tokenizer.convert_ids_to_tokens(text)
        self.letters = {
            i: normalize(piece).replace(" ", "") for i, piece in zip(text, pieces, strict=True)
        }
        self.ids: dict[str, list[int]] = {}
        for i, letters in self.letters.items():
            if letters:
                self.ids.setdefault(letters, []).append(i)
        self.is_text = torch.zeros(width, dtype=torch.bool, device=device)
        self.is_text[text] = True
        self.has_letters = torch.zeros_like(self.is_text)
        self.has_letters[[i for i in text if self.letters[i]]] = True

    @classmethod
    def of(cls, model: Any, tokenizer: Any, fmt: TextFormat) -> "Spelling":
        """The spelling of a model's output layer, on the model's device."""
        return cls(tokenizer, fmt, model.config.vocab_size, model.device)


@dataclass
class _Row:
    """How far one list is: letters of its whole queries, letters and tokens of the open one."""

    earlier: list[str] = field(default_factory=list)
    letters: str = ""
    tokens: int = 0
    ended: bool = False


class ListRules:
    """What a list may not do, as bans on the next token of every row of a batch.

    - A query is never empty: no separator and no end before it has a letter.
    - No query begins with a whole earlier query of its list, so none repeats: a token that
      would complete the letters of one is banned. Letters and not tokens are compared, because
      a model whose favourite is banned spells it with other tokens ("dog treats" from "do",
      "g", " treats"). "Begins with" is meant in tokens: after "milk", "milk bread" is out where
      it starts with the token "milk", and possible where it is one token.
    - Special tokens and ids outside the vocabulary are banned, but for separator and end.
    - After k queries only the end is left; with exactly_k there is no end before that.
    - A query of max_query_tokens tokens must end.
    """

    def __init__(
        self,
        fmt: ListFormat,
        spelling: Spelling,
        rows: int,
        k: int,
        exactly_k: bool,
        max_query_tokens: int = MAX_QUERY_TOKENS,
    ) -> None:
        self.fmt, self.spelling = fmt, spelling
        self.k, self.exactly_k, self.max_query_tokens = k, exactly_k, max_query_tokens
        self.rows = [_Row() for _ in range(rows)]
        self._tables = self._all_tables()

    def allowed(self) -> torch.Tensor:
        """(B, V) bool: the tokens that may come next; all of them once a list has ended."""
        allowed = self._tables[[self._table(row) for row in self.rows]]
        repeats = [(i, token) for i, row in enumerate(self.rows) for token in self._repeats(row)]
        if repeats:
            allowed[tuple(torch.tensor(repeats, device=allowed.device).T)] = False
        return allowed

    def _table(self, row: _Row) -> int:
        """Which of the tables a row is under, but for repeats."""
        if row.ended:
            return 0
        full = row.tokens == self.max_query_tokens
        last = len(row.earlier) == self.k - 1
        return 1 + 4 * bool(row.letters) + 2 * full + last

    def _all_tables(self) -> torch.Tensor:
        """(9, V) bool: everything, and what is allowed for each answer to: is the open query begun,
        full, the last one?"""
        spelling = self.spelling
        tables = [torch.ones_like(spelling.is_text)]
        for begun, full, last in product((False, True), repeat=3):
            table = (spelling.is_text if begun else spelling.has_letters) & (not full)
            table[self.fmt.sep] = begun and not last
            table[self.fmt.eos] = begun and (last or not self.exactly_k)
            tables.append(table)
        return torch.stack(tables)

    def _repeats(self, row: _Row) -> list[int]:
        """The tokens that would complete an earlier query of the row, while it is written."""
        if row.ended:
            return []
        written = len(row.letters)
        missing = [query[written:] for query in row.earlier if query.startswith(row.letters)]
        return [token for letters in missing for token in self.spelling.ids.get(letters, ())]

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these rows of the batch only."""
        self.rows = [self.rows[i] for i in rows]

    def observe(self, tokens: Sequence[int]) -> None:
        """Take in the token chosen for each row; what follows the end of a list is ignored."""
        for row, token in zip(self.rows, tokens, strict=True):
            row.ended = row.ended or token == self.fmt.eos
            if row.ended:
                continue
            if token == self.fmt.sep:
                row.earlier.append(row.letters)
                row.letters, row.tokens = "", 0
            else:
                row.letters += self.spelling.letters[token]
                row.tokens += 1


@torch.no_grad()
def decode(
    model: Any,
    prompts: Sequence[Sequence[int]],
    eos: int,
    *,
    max_new_tokens: int,
    sampling: Sampling | None = None,
    rules: Rules | None = None,
    watch: Watcher | None = None,
) -> list[list[int]]:
    """Continue each prompt (token ids, not empty) until eos or max_new_tokens, greedily or sampled.

    Returns the new ids of each prompt, the eos included where one was written. The model's
    training mode is left as it was; dropout is off meanwhile.
    """
    was_training = model.training
    model.eval()
    steps = steps_of(model, prompts, eos)
    token = torch.tensor([prompt[-1] for prompt in prompts], device=model.device)
    rows = torch.arange(len(prompts), device=model.device)  # the prompts that are still continued
    written: list[list[int]] = [[] for _ in prompts]
    for step in range(max_new_tokens):
        logits = steps.next(token)
        if rules:
            logits = logits.masked_fill_(~rules.allowed(), -torch.inf)
        token = _choose(logits, sampling, rows, step)
        chosen = token.tolist()
        if rules:
            rules.observe(chosen)
        if watch:
            watch(rows, logits, token)
        for row, one in zip(rows.tolist(), chosen, strict=True):
            written[row].append(one)
        if eos in chosen:
            # One list that spells its queries may be five times as long as all the others.
            going = [i for i, one in enumerate(chosen) if one != eos]
            if not going:
                break
            if sampling is None:  # a row's place rounds its sums, which a training is to repeat
                going = _moved_up(going)
            kept = torch.tensor(going, device=model.device)
            rows, token = rows[kept], token[kept]
            steps.keep(kept)
            if rules:
                rules.keep(going)
    model.train(was_training)
    return written


def _moved_up(going: list[int]) -> list[int]:
    """The rows that go on in such an order that as few as possible change their place: the last
    ones take the places of those that have ended."""
    late = [row for row in going if row >= len(going)]
    staying = set(going)
    return [row if row in staying else late.pop() for row in range(len(going))]


def _choose(
    logits: torch.Tensor, sampling: Sampling | None, rows: torch.Tensor, step: int
) -> torch.Tensor:
    """(B, V) logits -> (B,) the most likely token, or one drawn from the top_k."""
    if sampling is None:
        return logits.argmax(dim=-1)
    top = logits.float().topk(min(sampling.top_k, logits.size(-1)), dim=-1)
    reached = (top.values.double() / sampling.temperature).softmax(dim=-1).cumsum(dim=-1)
    # Of a total that may round to a little less than 1; banned tokens, the last, have no share.
    drawn = sampling.noise.to(logits.device)[rows, step, None] * reached[:, -1:]
    place = (reached <= drawn).sum(dim=-1, keepdim=True).clamp(max=reached.size(-1) - 1)
    return top.indices.gather(-1, place).squeeze(-1)
