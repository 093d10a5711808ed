"""A short IL-GRPO run of the committed base model; writes weights and losses. Run by
test_processes.py, alone and under `accelerate launch`."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from accelerate import PartialState
from safetensors.torch import save_file

from aigq_tasks.policy.backbone import load_backbone, make_deterministic
from aigq_tasks.policy.config import GrpoConfig, PolicySample
from aigq_tasks.policy.grpo_run import train_il_grpo
from aigq_tasks.policy.rewards import FloatArray
from aigq_tasks.policy.rollouts import ListLayout

QUERIES = ["milk", "rye bread", "green tea", "eggs"]


def letters(user_ids: Sequence[str], queries: Sequence[str]) -> FloatArray:
    return np.array([min(len(query), 20) / 100 for query in queries])


def main(out: Path) -> None:
    make_deterministic(seed=1, threads=1)
    model, tokenizer = load_backbone("tiny")
    samples = [
        PolicySample(
            f"u{i}", f"<profile>65+<history><{i}_day_ago><search>{query}<hints>", QUERIES[i:]
        )
        for i, query in enumerate(QUERIES)
    ]
    config = GrpoConfig(
        steps=2,
        minibatches=1,
        prompts_per_step=4,
        generations=4,
        list_length=4,
        max_new_tokens=24,
        learning_rate=1e-3,
    )
    layout = ListLayout(model, tokenizer, config.list_length)
    model, history = train_il_grpo(model, tokenizer, samples, layout, letters, config, seed=1)
    if PartialState().is_main_process:
        weights = {name: table.contiguous() for name, table in model.named_parameters()}
        save_file(weights, out / "weights.safetensors")
        (out / "history.json").write_text(json.dumps(history))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
