"""Time of an IL-GRPO step against one of TRL's GRPOTrainer: same model, prompts, lengths, reward.

Rollouts of both have the same number of tokens. A pair of steps is timed one after the other, in
alternating order; what counts is the ratio of each pair, for the machine is noisy.

    .venv/bin/python benchmarks/bench_grpo_step.py --pairs 5
    .venv/bin/python benchmarks/bench_grpo_step.py --pairs 0 --profile profile.md

`--smallest` tries it out in seconds: tiny steps, whose times say nothing.
"""

import cProfile
import pstats
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from datasets import Dataset
from transformers import TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from aigq_tasks.context.prompt import HistoryLine, render_prompt
from aigq_tasks.policy.backbone import load_backbone, make_deterministic
from aigq_tasks.policy.config import GrpoConfig, PolicySample
from aigq_tasks.policy.generate import Rules, decode
from aigq_tasks.policy.grpo_run import train_arguments
from aigq_tasks.policy.rewards import FloatArray
from aigq_tasks.policy.rollouts import ListLayout
from aigq_tasks.policy.trainer import ILGRPOTrainer

LINES = 36
WORDS = ["milk", "rye bread", "green tea", "eggs", "dog food", "paper towels", "pasta sauce"]
CONFIG = GrpoConfig(steps=2, max_new_tokens=40, rollout_rules=False, list_length=10)
SMALLEST = {"prompts_per_step": 1, "generations": 2, "max_new_tokens": 4}


def letters(user_ids: Sequence[str], queries: Sequence[str]) -> FloatArray:
    return np.array([min(len(query), 20) / 100 for query in queries])


def samples(count: int) -> list[PolicySample]:
    """Prompts of about the length of the market's."""
    return [
        PolicySample(
            f"u{i}",
            render_prompt(
                "65+ 35-49k 2 adults no kids",
                [
                    HistoryLine(f"{WORDS[(i + n) % 7]} {WORDS[n % 5]}", "search", n, 2, 7.0)
                    for n in range(LINES)
                ],
            ),
            WORDS,
        )
        for i in range(count)
    ]


class NoEnd(Rules):
    """Decoding rules that ban the end alone, as TRL's min_new_tokens does."""

    def __init__(self, rows: int, width: int, tokenizer: Any) -> None:
        self.mask = torch.ones(rows, width, dtype=torch.bool)
        self.mask[:, tokenizer.eos_token_id] = False

    def allowed(self) -> torch.Tensor:
        return self.mask


class Ours(ILGRPOTrainer):
    """IL-GRPO whose rollouts never end early."""

    def _generate_single_turn(self, prompt_ids: list[list[int]], *_: Any, **__: Any) -> Any:
        written = decode(
            self.model,
            prompt_ids,
            self._tokenizer.eos_token_id,
            max_new_tokens=self.config.max_new_tokens,
            sampling=self._sampling(len(prompt_ids)),
            rules=NoEnd(len(prompt_ids), self.model.config.vocab_size, self._tokenizer),
        )
        return written, None


class Steps(TrainerCallback):
    """Seconds of every optimizer step; with a profiler, what they are spent on after the first
    `warm` of them."""

    def __init__(self, profiler: cProfile.Profile | None = None, warm: int = 0) -> None:
        self.seconds: list[float] = []
        self.profiler, self.warm = profiler, warm

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self.started = time.perf_counter()
        if self.profiler and len(self.seconds) >= self.warm:
            self.profiler.enable()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        if self.profiler:
            self.profiler.disable()
        self.seconds.append(time.perf_counter() - self.started)


def timed(ours: bool, config: GrpoConfig, profiler: cProfile.Profile | None = None) -> float:
    """Seconds of one rollout batch with its updates, the second of two (the first warms up)."""
    model, tokenizer = load_backbone("tiny")
    prompts = samples(config.steps * config.prompts_per_step)
    rows = Dataset.from_list([vars(one) for one in prompts])
    arguments: GRPOConfig = train_arguments(config, 1)
    layout = ListLayout(model, tokenizer, config.list_length)
    if ours:
        trainer: Any = Ours(
            model, arguments, rows, tokenizer, layout=layout, scorer=letters, config=config
        )
    else:
        arguments.generation_kwargs = {"min_new_tokens": config.max_new_tokens}

        def reward(completion_ids: list[list[int]], **_: Any) -> list[float]:
            written = [[*one.slots.queries.values()] for one in layout.parse(completion_ids)]
            return [float(letters([], queries).sum()) / max(1, len(queries)) for queries in written]

        trainer = GRPOTrainer(model, [reward], arguments, rows, None, tokenizer)
    steps = Steps(profiler, config.minibatches)
    trainer.add_callback(steps)
    trainer.train()
    return sum(steps.seconds[config.minibatches :])


def phases(profiler: cProfile.Profile, total: float) -> dict[str, float]:
    """What the seconds of a step went to."""
    found: Any = pstats.Stats(profiler).stats  # type: ignore[attr-defined]

    def cumulative(name: str, caller: str = "") -> float:
        entries = [
            (own, callers) for (_, _, n), (_, _, _, own, callers) in found.items() if n == name
        ]
        if not caller:
            return float(sum(own for own, _ in entries))
        return float(
            sum(by[3] for _, callers in entries for (_, _, n), by in callers.items() if n == caller)
        )

    written, scored = (cumulative("shared_prefill", one) for one in ("decode", "_score"))
    spent = {
        "rollouts: prompts, once each": written,
        "rollouts: tokens": cumulative("decode") - written,
        "rewards and advantages": cumulative("list_reward") + cumulative("_token_advantages"),
        "loss: prompts, once each": scored,
        "loss: completions": cumulative("_score") - scored,
        "backward": cumulative("backward", "training_step"),
        "optimizer": cumulative("adam"),
    }
    return spent | {"rest": total - sum(spent.values())}


def main(
    pairs: Annotated[int, typer.Option(help="Pairs of steps.")] = 5,
    minibatches: Annotated[int, typer.Option(help="Updates per rollout batch.")] = 2,
    threads: Annotated[int, typer.Option(help="Torch threads.")] = 2,
    profile: Annotated[Path | None, typer.Option(help="Write where the time goes here.")] = None,
    smallest: Annotated[bool, typer.Option("--smallest", help="Try it out.")] = False,
) -> None:
    make_deterministic(1, threads)
    size = SMALLEST if smallest else {}
    config = CONFIG.model_copy(update={"minibatches": minibatches, **size})
    if profile:
        profiler = cProfile.Profile()
        total = timed(True, config, profiler)
        rows = [
            f"| {name} | {own / total:.0%} |\n" for name, own in phases(profiler, total).items()
        ]
        profile.write_text("| part of an IL-GRPO step | time |\n|---|---|\n" + "".join(rows))
    ratios = []
    for pair in range(pairs):
        order = (True, False) if pair % 2 else (False, True)
        seconds = {ours: timed(ours, config) for ours in order}
        ratios.append(seconds[True] / seconds[False])
        print(f"IL-GRPO {seconds[True]:.2f} s, TRL {seconds[False]:.2f} s: {ratios[-1]:.2f}")
    if ratios:
        print(f"median ratio {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    typer.run(main)
