"""What a run of IL-SFT and one of IL-GRPO share: quiet TRL arguments, a progress bar, the end."""

from typing import Any

History = list[dict[str, float]]  # one entry per optimizer step; no clock time in it


def trl_arguments(output_dir: str, seed: int) -> dict[str, Any]:
    """Arguments of every TRL run here: no reporting, no checkpoints, one log line a step,
    float32 on CPU (there bfloat16 pays only for models far above the committed one)."""
    import warnings

    import torch

    # TRL asks transformers for it by its old name, at every step.
    warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
    return {
        "output_dir": output_dir,
        "seed": seed,
        "bf16": torch.cuda.is_available() and torch.cuda.is_bf16_supported(),
        "activation_checkpointing": False,
        "logging_steps": 1,
        "report_to": "none",
        "save_strategy": "no",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
    }


def step_bar(description: str, metric: str) -> Any:
    """A trainer callback that shows one progress bar with the latest value of a metric."""
    from rich.progress import Progress
    from transformers import TrainerCallback

    class StepBar(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.bar = Progress()
            self.task = self.bar.add_task(description, total=state.max_steps)
            self.bar.start()

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if logs and metric in logs:
                text = f"{description} {metric} {logs[metric]:.3f}"
                self.bar.update(self.task, description=text, completed=state.global_step)

        def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.bar.stop()

    return StepBar()


def finish(trainer: Any) -> History:
    """After `trainer.train()`: give the model its own forward back (TRL patches it), put it in
    evaluation mode, and return the step log without what depends on the clock."""
    model = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)
    vars(model).pop("forward", None)
    model.eval()
    steps = [entry for entry in trainer.state.log_history if "train_runtime" not in entry]
    return [
        {key: float(value) for key, value in entry.items() if key != "step_time"} for entry in steps
    ]
