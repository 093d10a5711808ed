"""IL-SFT: supervised fine-tuning on ordered label lists (paper 3.4, Eq 5-6)."""

import tempfile
from collections.abc import Sequence
from typing import Any

import torch  # noqa: TID253  a trainer is all torch and TRL
from datasets import Dataset
from transformers import PrinterCallback  # noqa: TID253
from trl import SFTConfig, SFTTrainer  # noqa: TID253

from aigq_tasks.context.prompt import render_target
from aigq_tasks.errors import AigqError
from aigq_tasks.policy.training import (
    History,
    PolicySample,
    SftConfig,
    finish,
    step_bar,
    trl_arguments,
)


def train_il_sft(
    model: Any, tokenizer: Any, samples: Sequence[PolicySample], config: SftConfig, seed: int
) -> History:
    """Fine-tune the model in place on (prompt, ordered list) pairs; the loss of each log entry
    is the mean of −log π(y_t | x, y_<t) over the target tokens of its batch.

    The target is the list with its separators and the end; prompt tokens carry no loss. Batches
    hold samples of similar length. On CPU the same inputs and seed give the same weights.
    AigqError if there are no samples.
    """
    if not samples:
        raise AigqError("no samples for IL-SFT; is there a session with a click in its days?")
    dataset = Dataset.from_list(
        [{"prompt": s.prompt, "completion": render_target(s.reference)} for s in samples]
    )
    with tempfile.TemporaryDirectory() as folder:
        arguments = SFTConfig(
            **trl_arguments(folder, seed),
            num_train_epochs=config.epochs,
            max_steps=config.max_steps or -1,
            learning_rate=config.learning_rate,
            warmup_steps=config.warmup_steps,
            per_device_train_batch_size=config.batch_size,
            train_sampling_strategy="group_by_length",
            max_length=None,
        )
        trainer = SFTTrainer(
            model=model,
            args=arguments,
            train_dataset=dataset,
            processing_class=tokenizer,
            callbacks=[step_bar("IL-SFT", "loss")],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        return finish(trainer)
