"""Time to write lists under the rules of serving against transformers' own `generate`: same model,
prompts and number of tokens.

The committed base model continues prompts of the market's length, greedily. transformers writes
as many tokens as the longest list has, in the same batches, without any rule; here every row is
under `ListRules` and leaves its batch when it has ended, and what is compared is the time of a
token that somebody asked for. A pair is timed one after the other, in alternating order; what
counts is the ratio of each pair, for the machine is noisy.

    .venv/bin/python benchmarks/bench_lists.py --pairs 5

`--smallest` tries it out in seconds: few short lists, whose times say nothing.
"""

import statistics
import time
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import torch
import typer

from aigq_tasks.context.prompt import HistoryLine, render_prompt
from aigq_tasks.policy.backbone import load_backbone, make_deterministic
from aigq_tasks.policy.generate import ListRules, Spelling, generate
from aigq_tasks.policy.parse import ListFormat
from aigq_tasks.policy.steps import left_pad

LINES = 36
WORDS = ["milk", "rye bread", "green tea", "eggs", "dog food", "paper towels", "pasta sauce"]
BATCH = 128


class Size(NamedTuple):
    """Prompts, and queries of a list."""

    prompts: int
    queries: int


FULL, SMALLEST = Size(256, 30), Size(2, 2)


def prompts(count: int) -> list[str]:
    """Distinct ones; one in seven is that of a shopper with a short history."""
    return [
        render_prompt(
            "65+ 35-49k 2 adults no kids",
            [
                HistoryLine(f"{WORDS[(i + n) % 7]} {WORDS[n % 5]}", "search", n, 1 + i % 9, 7.0)
                for n in range(LINES if i % 7 else 1 + i % LINES)
            ],
        )
        for i in range(count)
    ]


def under_rules(model: Any, tokenizer: Any, asked: list[str], queries: int) -> list[list[int]]:
    fmt = ListFormat.of(tokenizer)
    spelling = Spelling.of(model, tokenizer, fmt)
    return generate(
        model,
        tokenizer,
        asked,
        lambda rows: ListRules(fmt, spelling, len(rows), queries, exactly_k=True),
        max_new_tokens=queries * 17,
        batch_size=BATCH,
    )


@torch.no_grad()
def by_transformers(model: Any, tokenizer: Any, asked: list[str], tokens: int) -> list[list[int]]:
    """So many tokens after every prompt, in batches of similar length."""
    ids = sorted(tokenizer(asked)["input_ids"], key=len)
    written: list[list[int]] = []
    for start in range(0, len(ids), BATCH):
        told, mask = left_pad(ids[start : start + BATCH], tokenizer.pad_token_id, model.device)
        whole = model.generate(
            told,
            attention_mask=mask,
            do_sample=False,
            max_new_tokens=tokens,
            min_new_tokens=tokens,
        )
        written += whole[:, told.size(1) :].tolist()
    return written


def per_token(write: Callable[[], list[list[int]]]) -> tuple[float, int]:
    """Microseconds of CPU per written token, and the mean length."""
    began = time.process_time()
    lengths = [len(own) for own in write()]
    return (time.process_time() - began) * 1e6 / sum(lengths), round(statistics.mean(lengths))


def main(
    pairs: Annotated[int, typer.Option(help="Pairs of runs.")] = 5,
    threads: Annotated[int, typer.Option(help="Torch threads.")] = 2,
    smallest: Annotated[bool, typer.Option("--smallest", help="Try it out.")] = False,
) -> None:
    make_deterministic(1, threads)
    size = SMALLEST if smallest else FULL
    model, tokenizer = load_backbone("tiny")
    asked = prompts(size.prompts)
    _, tokens = per_token(lambda: under_rules(model, tokenizer, asked, size.queries))
    runs = {
        True: lambda: under_rules(model, tokenizer, asked, size.queries),
        False: lambda: by_transformers(model, tokenizer, asked, tokens),
    }
    ratios = []
    for pair in range(pairs):
        order = (True, False) if pair % 2 else (False, True)
        cost = {ours: per_token(runs[ours])[0] for ours in order}
        ratios.append(cost[True] / cost[False])
        print(
            f"with rules {cost[True]:.0f} µs of CPU a token, transformers {cost[False]:.0f} µs: "
            f"{ratios[-1]:.2f}"
        )
    median = statistics.median(ratios)
    print(f"{size.prompts} prompts, {tokens} tokens each, median ratio {median:.2f}")


if __name__ == "__main__":
    typer.run(main)
