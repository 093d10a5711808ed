"""IL-GRPO on TRL's GRPOTrainer: per-token advantages instead of one per sequence.

TRL computes one advantage per sequence, but its loss takes a (B, T) table. So rollouts, loss and
optimizer stay TRL's; the subclass supplies the rewards of the list's parts and the table.
"""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch  # noqa: TID253  a trainer is all torch and TRL
from accelerate.utils import gather
from datasets import Dataset
from transformers import PrinterCallback, TrainerCallback  # noqa: TID253
from trl import GRPOConfig, GRPOTrainer  # type: ignore[attr-defined]  # noqa: TID253

from aigq_tasks.errors import AigqError
from aigq_tasks.policy.cache import shared_prefill
from aigq_tasks.policy.generate import ListRules, Sampling, Spelling, decode
from aigq_tasks.policy.il_grpo import list_advantages, pad_segments, scatter_advantages
from aigq_tasks.policy.parse import ListFormat, parse_completions
from aigq_tasks.policy.rewards import (
    CtrScorer,
    query_rewards,
    query_terms,
    sequence_rewards,
    sequence_terms,
)
from aigq_tasks.policy.training import (
    GrpoConfig,
    History,
    PolicySample,
    finish,
    step_bar,
    trl_arguments,
)

BANNED = -1e9  # a logit that the rules forbid; finite, so that 0 · log 0 stays 0 in entropies


class ILGRPOTrainer(GRPOTrainer):
    """GRPOTrainer whose advantages follow Eq 11-13.

    The dataset has the columns prompt, user_id and reference (a list of queries). With
    config.rollout_rules the policy is the one that is served: its next-token distribution
    under `ListRules`, in rollouts and in the loss alike.
    """

    def __init__(
        self,
        model: Any,
        args: GRPOConfig,
        train_dataset: Dataset,
        processing_class: Any,
        callbacks: list[TrainerCallback],
        *,
        scorer: CtrScorer,
        config: GrpoConfig,
    ) -> None:
        self.scorer, self.config = scorer, config
        super().__init__(
            model,
            [self.list_reward],
            args,
            train_dataset,
            processing_class=processing_class,
            callbacks=callbacks,
        )
        if config.rollout_rules and not self._rollouts_are_own:
            raise AigqError(
                "rollouts of vLLM, DeepSpeed and FSDP know no rules: "
                "set policy.grpo.rollout_rules to false"
            )
        self._format = ListFormat.of(processing_class)
        self._spelling = Spelling.of(
            self.accelerator.unwrap_model(self.model), processing_class, self._format
        )
        self.rollout_generator = torch.Generator(self.accelerator.device)
        self.rollout_generator.manual_seed(args.seed + self.accelerator.process_index)

    def list_reward(
        self,
        completion_ids: list[list[int]],
        user_id: list[str],
        reference: list[list[str]],
        log_metric: Callable[[str, float], None],
        **_: Any,
    ) -> list[float | None]:
        """TRL's reward function, called once per rollout batch: mean query reward (0 without a
        query) plus sequence reward of each list. TRL logs these; the rewards of the parts,
        which make the advantages, are kept until `_generate_and_score_completions` goes on."""
        length, config = self.config.list_length, self.config.reward
        lists = parse_completions(completion_ids, self._tokenizer, length)
        query = query_terms(lists, reference, user_id, self.scorer, length, config)
        sequence = sequence_terms(lists, length, config)
        for term, values in (query | sequence).items():
            log_metric(f"reward/{term}", _mean(values))
        log_metric("queries_per_list", _mean([len(parsed.queries) for parsed in lists]))
        log_metric("valid_lists", _mean([parsed.valid for parsed in lists]))
        self._spans = [parsed.spans for parsed in lists]
        self._query_rewards = torch.from_numpy(query_rewards(query, config))
        self._sequence_rewards = torch.from_numpy(sequence_rewards(sequence, config))
        of_queries = self._query_rewards.nanmean(dim=1).nan_to_num()
        return (of_queries + self._sequence_rewards).tolist()

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        """TRL's rollouts and rewards, with advantages (B, T) in place of (B,)."""
        output: dict[str, Any] = super()._generate_and_score_completions(inputs)
        device = self.accelerator.device
        # A group may be spread over processes: normalise over all of them, keep the own rows.
        slots, structure = list_advantages(
            gather(self._query_rewards.float().to(device)),
            gather(self._sequence_rewards.float().to(device)),
            self.config.generations,
            self.config.sequence_weight,
            self.config.advantage_clip,
        )
        start = self.accelerator.process_index * len(inputs)
        own = slice(start, start + len(inputs))
        segments = pad_segments(self._spans, output["completion_ids"].size(1)).to(device)
        output["advantages"] = scatter_advantages(slots[own], structure[own], segments)
        return output

    def _generate_single_turn(
        self,
        prompt_ids: list[list[int]],
        images: Any,
        multimodal_fields: dict[str, Any],
        num_generations: int,
        has_tool_images: bool = False,
    ) -> tuple[list[list[int]], Any]:
        """Rollouts with one prefill per prompt, where the weights are whole in this process."""
        if not self._rollouts_are_own:
            rollouts: tuple[list[list[int]], Any] = super()._generate_single_turn(  # type: ignore[no-untyped-call]
                prompt_ids, images, multimodal_fields, num_generations, has_tool_images
            )
            return rollouts
        written = decode(
            self.accelerator.unwrap_model(self.model),
            prompt_ids,
            self._tokenizer.eos_token_id,
            max_new_tokens=self.config.max_new_tokens,
            sampling=Sampling(self.config.temperature, self.config.top_k),
            generator=self.rollout_generator,
            rules=self._rules(len(prompt_ids)) if self.config.rollout_rules else None,
        )
        return written, None

    @property
    def _rollouts_are_own(self) -> bool:
        """Whether this process holds the whole weights, so that it can write the rollouts."""
        return not (self.use_vllm or self.is_deepspeed_enabled or self.is_fsdp_enabled)

    def _rules(self, rows: int) -> ListRules:
        return ListRules(
            self._format, self._spelling, rows, self.config.list_length, exactly_k=False
        )

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        compute_entropy: bool = False,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        """Log-probabilities and entropies of the completion tokens, each (B, logits_to_keep).

        TRL's kernel for accelerators scores the completion tokens only, but its fallback for CPU
        scores the prompt too, and runs the prompt once per rollout. Here neither happens.
        """
        own = input_ids.device.type == "cpu" or self.config.rollout_rules
        if not own or kwargs.get("compute_aux_loss"):
            return super()._get_per_token_logps_and_entropies(  # type: ignore[no-any-return]
                model,
                input_ids,
                attention_mask,
                logits_to_keep,
                batch_size=batch_size,
                compute_entropy=compute_entropy,
                **kwargs,
            )
        size = batch_size or len(input_ids)
        chunks = zip(torch.split(input_ids, size), torch.split(attention_mask, size), strict=True)
        scored = [self._score(model, ids, mask, logits_to_keep) for ids, mask in chunks]
        logps, entropies = (torch.cat(part) for part in zip(*scored, strict=True))
        return logps, entropies if compute_entropy else None, None

    def _score(
        self, model: Any, ids: torch.Tensor, mask: torch.Tensor, length: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        # The last prompt token is run with the completion: its output scores the first token.
        last = ids.size(1) - length - 1
        positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
        with self.accelerator.autocast():
            cache = shared_prefill(model, ids[:, :last], mask[:, :last])
            logits = model(
                input_ids=ids[:, last:-1],
                attention_mask=mask[:, :-1],
                position_ids=positions[:, last:-1],
                past_key_values=cache,
                use_cache=True,
            ).logits
        written = ids[:, last + 1 :]
        if self.config.rollout_rules:
            logits = logits.masked_fill(~self._allowed(written), BANNED)
        logps = (logits.float() / self.temperature).log_softmax(dim=-1)
        # A metric, unless an entropy bonus needs its gradient.
        with torch.set_grad_enabled(torch.is_grad_enabled() and self._entropy_bonus_enabled):
            entropies = -(logps.exp() * logps).sum(dim=-1)
        return logps.gather(-1, written[:, :, None]).squeeze(-1), entropies

    def _allowed(self, completions: torch.Tensor) -> torch.Tensor:
        """(B, T) completions -> (B, T, V) bool: what the rules allowed at each of their tokens."""
        rules, steps = self._rules(len(completions)), []
        for tokens in completions.T.tolist():
            steps.append(rules.allowed())
            rules.observe(tokens)
        return torch.stack(steps, dim=1)


def _mean(values: Any) -> float:
    """Mean over the entries that are not NaN; 0.0 if there are none."""
    table = torch.as_tensor(values, dtype=torch.float64)
    return float(table.nanmean().nan_to_num())


def train_il_grpo(
    model: Any,
    tokenizer: Any,
    samples: Sequence[PolicySample],
    scorer: CtrScorer,
    config: GrpoConfig,
    seed: int,
    out_dir: Path | None = None,
) -> tuple[Any, History]:
    """Improve the policy by config.steps updates of IL-GRPO (Eq 15); the model is trained in
    place and returned with one log entry per step.

    The samples are taken in their order, prompts_per_step at a time, from the start again when
    they run out. On-policy: every update has fresh rollouts, so no ratio is ever clipped. On CPU
    the same model, samples, scorer, config and seed give the same weights. out_dir is where
    TRL may write; by default a folder that is removed. AigqError if the samples do not fill one
    step or the micro-batches do not divide it.
    """
    if len(samples) < config.prompts_per_step:
        raise AigqError(
            f"{len(samples)} samples do not fill one IL-GRPO step of {config.prompts_per_step} "
            "prompts; lower policy.grpo.prompts_per_step"
        )
    micro_batch = config.micro_batch or config.rollouts
    if config.rollouts % micro_batch:
        raise AigqError(
            f"policy.grpo.micro_batch {micro_batch} does not divide the {config.rollouts} "
            "rollouts of a step"
        )
    dataset = Dataset.from_list([vars(sample) for sample in samples])
    with tempfile.TemporaryDirectory() as folder:
        arguments = GRPOConfig(
            **trl_arguments(str(out_dir or folder), seed),
            learning_rate=config.learning_rate,
            lr_scheduler_type="constant_with_warmup",
            warmup_steps=config.warmup_steps,
            max_steps=config.steps,
            per_device_train_batch_size=micro_batch,
            gradient_accumulation_steps=config.rollouts // micro_batch,
            num_generations=config.generations,
            max_completion_length=config.max_new_tokens,
            temperature=config.temperature,
            top_k=config.top_k,
            shuffle_dataset=False,
            remove_unused_columns=False,
        )
        trainer = ILGRPOTrainer(
            model=model,
            args=arguments,
            train_dataset=dataset,
            processing_class=tokenizer,
            callbacks=[step_bar("IL-GRPO", "reward")],
            scorer=scorer,
            config=config,
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        return model, finish(trainer)
