"""One run of IL-GRPO: TRL's arguments, the trainer, and its checkpoints."""

import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from accelerate import PartialState
from datasets import Dataset
from transformers import PrinterCallback, TrainerCallback  # noqa: TID253
from trl import GRPOConfig  # type: ignore[attr-defined]  # noqa: TID253

from aigq_tasks.errors import AigqError
from aigq_tasks.policy.config import GrpoConfig, PolicySample
from aigq_tasks.policy.rewards import CtrScorer
from aigq_tasks.policy.rollouts import Layout
from aigq_tasks.policy.trainer import ILGRPOTrainer, checkpoint_errors
from aigq_tasks.policy.trl_common import History, finish, step_bar, trl_arguments

WHOLE = "rollouts.json"  # a checkpoint's last file


def train_il_grpo(
    model: Any,
    tokenizer: Any,
    samples: Sequence[PolicySample],
    layout: Layout,
    scorer: CtrScorer,
    config: GrpoConfig,
    seed: int,
    *,
    truth: CtrScorer | None = None,
    checkpoints: Path | None = None,
    passed: Callable[[str], None] = lambda point: None,
) -> tuple[Any, History]:
    """Improve the policy by config.steps rollout batches of IL-GRPO (Eq 15), config.minibatches
    updates each; the model is trained in place and returned with one log entry per update.

    The samples are taken in their order, prompts_per_step at a time, from the start again when
    they run out; those beyond steps · prompts_per_step are spare (see `ILGRPOTrainer`). On CPU the
    same model, samples, scorer, config and seed give the same weights, also when the run was
    killed: with `checkpoints`, a folder of its own, it goes on from the last one there. `passed`
    is told where a kill would matter: "checkpoint-half" before the file that makes a checkpoint
    whole, "checkpoint" after it. AigqError if the samples do not fill one step or it cannot be
    divided.
    """
    if len(samples) < config.prompts_per_step:
        raise AigqError(
            f"{len(samples)} samples do not fill one IL-GRPO step of {config.prompts_per_step} "
            "prompts; lower policy.grpo.prompts_per_step"
        )
    wanted = config.steps * config.prompts_per_step
    dataset = Dataset.from_list([vars(sample) for sample in samples[:wanted]])
    trainer = ILGRPOTrainer(
        model=model,
        args=train_arguments(config, seed, checkpoints),
        train_dataset=dataset,
        processing_class=tokenizer,
        callbacks=[step_bar("IL-GRPO", "reward")],
        layout=layout,
        scorer=scorer,
        config=config,
        spare=samples[wanted:],
        truth=truth,
    )
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(_Rollouts(trainer, passed))
    trainer.train(resume_from_checkpoint=_last(checkpoints))
    return model, finish(trainer)


def _last(folder: Path | None) -> str | None:
    """The newest whole checkpoint in the folder, if there is one. Torn ones, which a kill or a
    full disk left behind, are removed."""
    if folder is None:
        return None
    whole = {}
    for checkpoint in folder.glob("checkpoint-*"):
        if (checkpoint / WHOLE).exists():
            whole[int(checkpoint.name.removeprefix("checkpoint-"))] = str(checkpoint)
        else:
            shutil.rmtree(checkpoint, ignore_errors=True)
    return whole[max(whole)] if whole else None


def train_arguments(config: GrpoConfig, seed: int, checkpoints: Path | None = None) -> GRPOConfig:
    """TRL's arguments of a run with these settings, for `ILGRPOTrainer`. A rollout batch is spread
    over processes; each splits its part into minibatches, and those into micro-batches. A
    checkpoint of every step is kept in the folder `checkpoints`; without it nothing is written.
    AigqError if the rollouts of a step cannot be divided, or vLLM is asked for and missing.
    """
    shares = config.minibatches * PartialState().num_processes
    own = config.rollouts // shares
    micro = config.micro_batch or own
    if config.rollouts % shares or own % micro:
        raise AigqError(
            f"the {config.rollouts} rollouts of an IL-GRPO step cannot be divided into "
            f"{config.minibatches} minibatches of micro-batches of {micro}: change "
            "policy.grpo.minibatches or micro_batch"
        )
    # TRL wants a folder even where it writes nothing.
    arguments = trl_arguments(str(checkpoints or tempfile.gettempdir()), seed)
    if checkpoints:
        saving = {"save_strategy": "steps", "save_steps": config.minibatches, "save_total_limit": 2}
        arguments |= saving
    return GRPOConfig(
        **arguments,
        learning_rate=config.learning_rate,
        lr_scheduler_type="constant_with_warmup",
        warmup_steps=config.warmup_steps,
        max_steps=config.steps * config.minibatches,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=own // micro,
        steps_per_generation=config.minibatches * (own // micro),
        num_generations=config.generations,
        max_completion_length=config.max_new_tokens,
        temperature=config.temperature,
        top_k=config.top_k,
        entropy_coef=config.entropy_bonus,
        use_vllm=_uses_vllm(config),
        shuffle_dataset=False,
        remove_unused_columns=False,
    )


def _uses_vllm(config: GrpoConfig) -> bool:
    """AigqError where the settings or the machine do not allow what they ask for."""
    if config.engine != "vllm":
        return False
    if config.rollout_rules:
        raise AigqError(
            "rollouts of vLLM know no rules: set policy.grpo.rollout_rules to false as well"
        )
    if find_spec("vllm") is None:
        raise AigqError(
            "policy.grpo.engine is vllm, which is not installed: on a machine with a GPU, "
            "pip install 'trl[vllm]'"
        )
    return True


class _Rollouts(TrainerCallback):
    """Keeps with every checkpoint what the next rollouts depend on besides the weights: their
    number, and how many spare samples are left. Its file comes last and at once: a checkpoint that
    has it is whole."""

    def __init__(self, trainer: ILGRPOTrainer, passed: Callable[[str], None]) -> None:
        self.trainer, self.passed = trainer, passed

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.trainer.accelerator.is_main_process:
            self.passed("checkpoint-half")
            held = {"drawn": self.trainer.drawn, "spare": len(self.trainer.spare)}
            file = self._file(args, state)
            part = file.with_suffix(".part")
            with checkpoint_errors(args.output_dir):
                part.write_text(json.dumps(held))
                part.rename(file)
            self.passed("checkpoint")

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step:
            held = json.loads(self._file(args, state).read_text())
            self.trainer.drawn = held["drawn"]
            del self.trainer.spare[held["spare"] :]

    def _file(self, args: Any, state: Any) -> Path:
        return Path(args.output_dir) / f"checkpoint-{state.global_step}" / WHOLE
