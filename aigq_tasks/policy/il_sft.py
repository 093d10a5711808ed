"""IL-SFT: supervised fine-tuning on ordered label lists (paper 3.4, Eq 5-6)."""

import tempfile
from collections.abc import Sequence
from typing import Any

import torch  # noqa: TID253  a trainer is all torch and TRL
from datasets import Dataset
from torch.nn.functional import cross_entropy  # noqa: TID253
from transformers import PrinterCallback  # noqa: TID253
from trl import SFTConfig, SFTTrainer  # type: ignore[attr-defined]  # noqa: TID253

from aigq_tasks.context.prompt import render_target
from aigq_tasks.errors import AigqError
from aigq_tasks.policy.backbone import fast_products
from aigq_tasks.policy.config import PolicySample, SftConfig
from aigq_tasks.policy.trl_common import History, finish, step_bar, trl_arguments

IGNORED = -100  # label of a token without loss


class TargetTrainer(SFTTrainer):
    """SFTTrainer whose output layer, on CPU, runs on target positions only.

    TRL's kernel for accelerators leaves the prompt out of the output layer; its fallback for CPU
    does not, and prompts are ten times as long as targets. The loss is the same.
    """

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        if inputs["input_ids"].device.type != "cpu" or self.aux_loss_enabled:
            return super().compute_loss(  # type: ignore[no-untyped-call]
                model, inputs, return_outputs, num_items_in_batch
            )
        labels = inputs["labels"][:, 1:]  # output t scores token t + 1
        scored = (labels != IGNORED).any(dim=0).nonzero().squeeze(1)
        with fast_products():
            # No attention mask: padding is on the right, where causal attention never looks.
            logits = model(
                input_ids=inputs["input_ids"], logits_to_keep=scored, use_cache=False
            ).logits
        targets = labels[:, scored]
        loss = cross_entropy(
            logits.float().flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum"
        )
        return loss / (num_items_in_batch or (targets != IGNORED).sum())


def tokenize(tokenizer: Any, samples: Sequence[PolicySample]) -> Dataset:
    """Columns input_ids (prompt, target, end) and labels (IGNORED over the prompt).

    Prompt and target are tokenized apart, as they are when the target is generated.
    """
    prompts = tokenizer([sample.prompt for sample in samples])["input_ids"]
    targets = tokenizer(
        [sample.target or render_target(sample.reference) for sample in samples],
        add_special_tokens=False,
    )["input_ids"]
    rows = []
    for prompt, target in zip(prompts, targets, strict=True):
        closed = [*target, tokenizer.eos_token_id]
        rows.append({"input_ids": prompt + closed, "labels": [IGNORED] * len(prompt) + closed})
    return Dataset.from_list(rows)


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
    dataset = tokenize(tokenizer, samples)
    with tempfile.TemporaryDirectory() as folder:
        arguments = SFTConfig(
            **trl_arguments(folder, seed),
            num_train_epochs=config.epochs,
            max_steps=config.max_steps or -1,
            learning_rate=config.learning_rate,
            lr_scheduler_type="cosine",
            warmup_steps=config.warmup_steps,
            per_device_train_batch_size=config.batch_size,
            train_sampling_strategy="group_by_length",
            max_length=None,
        )
        trainer = TargetTrainer(
            model=model,
            args=arguments,
            train_dataset=dataset,
            processing_class=tokenizer,
            callbacks=[step_bar("IL-SFT", "loss")],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        return finish(trainer)
