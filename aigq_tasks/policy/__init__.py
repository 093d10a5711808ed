"""The query writer: a language model that turns a prompt into queries, and how it is trained.

    backbone    a model and its tokenizer, by name or from files; base/ is the committed one
    tokenizer, pretrain   how that one was made
    parse, think          token ids -> a list (AIGQ-Direct), interest points (AIGQ-Think)
    generate, think_rules, think_generate   writing under the rules of served lists
    steps, cache, buffers   one decoding step after the other
    frozen      a stored policy that only writes, read without transformers
    rollouts    both variants as layouts: slots, labels, rules
    rewards, reward_metrics   what a rollout is worth, and what is logged of it
    advantages, batches, trainer, grpo_run   IL-GRPO: its tensors, its TRL trainer, one run of it
    il_sft      IL-SFT;  trl_common is what both runs share
    config      their settings and the sample they learn from

Any Hugging Face causal LM will do: docs/examples/il_grpo_any_model.py is the shortest way in. The
package imports `aigq_tasks.context` and `aigq_tasks.errors` and nothing else of `aigq_tasks`: it
knows of no storage, settings, pipeline, recall or evaluation.

Torch, TRL and transformers take seconds to load, so the names below are looked up when they are
asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aigq_tasks.policy.generate import generate_lists
    from aigq_tasks.policy.grpo_run import train_arguments, train_il_grpo
    from aigq_tasks.policy.il_sft import train_il_sft
    from aigq_tasks.policy.rollouts import ListLayout, ThinkLayout
    from aigq_tasks.policy.trainer import ILGRPOTrainer

__all__ = [
    "ILGRPOTrainer",
    "ListLayout",
    "ThinkLayout",
    "generate_lists",
    "train_arguments",
    "train_il_grpo",
    "train_il_sft",
]

_HOMES = {
    "ILGRPOTrainer": "trainer",
    "ListLayout": "rollouts",
    "ThinkLayout": "rollouts",
    "generate_lists": "generate",
    "train_arguments": "grpo_run",
    "train_il_grpo": "grpo_run",
    "train_il_sft": "il_sft",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
