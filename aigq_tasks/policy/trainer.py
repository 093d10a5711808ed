"""IL-GRPO on TRL's GRPOTrainer: advantages and clip bounds per token, rollouts under rules.

TRL computes one advantage per sequence, but its loss takes a (B, T) table, and its clip bounds may
be tables too. So rollouts' bookkeeping, loss and optimizer stay TRL's; the subclass writes the
rollouts, rewards their parts, and supplies the tables.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch  # noqa: TID253  a trainer is all torch and TRL
from accelerate.utils import gather, pad_across_processes
from datasets import Dataset
from safetensors import SafetensorError
from transformers import TrainerCallback  # noqa: TID253
from trl import GRPOConfig, GRPOTrainer  # type: ignore[attr-defined]  # noqa: TID253

from aigq_tasks.errors import AigqError
from aigq_tasks.policy.advantages import (
    clip_bounds,
    entropy_threshold,
    entropy_weight,
    informative_groups,
    list_advantages,
    pad_segments,
    scatter_advantages,
    sequence_advantages,
    trigger_advantages,
)
from aigq_tasks.policy.batches import Batch, replace_rows
from aigq_tasks.policy.cache import shared_prefill
from aigq_tasks.policy.config import GrpoConfig, PolicySample
from aigq_tasks.policy.generate import Sampling, TokenScores, decode, noise
from aigq_tasks.policy.reward_metrics import reward_metrics
from aigq_tasks.policy.rewards import CtrScorer, rewards_of
from aigq_tasks.policy.rollouts import Layout

# What the libraries raise when a disk is full: Python, torch and safetensors each their own.
WRITE_ERRORS = (OSError, RuntimeError, SafetensorError)
BANNED = -1e9  # a logit that the rules forbid; finite, so that 0 · log 0 stays 0 in entropies


@contextmanager
def checkpoint_errors(folder: str | None) -> Iterator[None]:
    """What goes wrong while a checkpoint is written to `folder`, as one line."""
    try:
        yield
    except WRITE_ERRORS as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise AigqError(
            f"a checkpoint cannot be written to {folder} ({reason}): make room there, or set "
            "state_dir to another disk, and run the same command again"
        ) from error


class ILGRPOTrainer(GRPOTrainer):
    """GRPOTrainer whose advantages follow Eq 11-13 and 17, and whose bounds follow Eq 18.

    The dataset has the columns prompt, user_id, reference (a list of queries) and target. With
    config.rollout_rules the policy is the one that is served: its next-token distribution under
    the rules of the layout, in rollouts and in the loss alike.

    spare: samples that take the place of prompts from which there is nothing to learn (see
    `informative_groups`), one round per step; with several processes nothing takes their place.
    truth: (users, queries) -> chances to meet a need where somebody knows them, for the log only.
    """

    def __init__(
        self,
        model: Any,
        args: GRPOConfig,
        train_dataset: Dataset,
        processing_class: Any,
        callbacks: Sequence[TrainerCallback] = (),
        *,
        layout: Layout,
        scorer: CtrScorer,
        config: GrpoConfig,
        spare: Sequence[PolicySample] = (),
        truth: CtrScorer | None = None,
    ) -> None:
        self.layout, self.scorer, self.config, self.truth = layout, scorer, config, truth
        self.spare = list(reversed(spare))
        super().__init__(
            model,
            [self.list_reward],
            args,
            train_dataset,
            processing_class=processing_class,
            callbacks=list(callbacks),
        )
        if config.rollout_rules and not self._rollouts_are_own:
            raise AigqError(
                "rollouts of vLLM, DeepSpeed and FSDP know no rules: "
                "set policy.grpo.rollout_rules to false"
            )
        if config.anchor:
            # TRL would load the reference from a hub; ours is the parent, before any update.
            parent = copy.deepcopy(self.accelerator.unwrap_model(self.model))
            self.ref_model = self.accelerator.prepare_model(parent, evaluation_mode=True)
            self.beta = config.anchor
        self.drawn = 0  # rollouts so far, of all processes: the number of the next one
        self._scores: TokenScores | None = None

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        with checkpoint_errors(self.args.output_dir):
            super()._save_checkpoint(model, trial)  # type: ignore[no-untyped-call]

    def list_reward(
        self,
        completion_ids: list[list[int]],
        user_id: list[str],
        reference: list[list[str]],
        target: list[str],
        log_metric: Callable[[str, float], None],
        **_: Any,
    ) -> list[float | None]:
        """TRL's reward function, called once per rollout batch: mean query reward (0 without a
        query) plus sequence reward of each rollout. TRL logs these; the rewards of the parts,
        which make the advantages, are kept until `_scored_rollouts` goes on."""
        rollouts = self.layout.parse(completion_ids)
        labels = [
            self.layout.reference(PolicySample(user, "", queries, text))
            for user, queries, text in zip(user_id, reference, target, strict=True)
        ]
        rewards = rewards_of(
            rollouts, labels, user_id, self.scorer, self.layout, self.config.reward
        )
        config = self.config.reward
        found = reward_metrics(rollouts, rewards, config, user_id, self.truth)
        for name, value in found.items():
            log_metric(name, value)
        self._segments, self._rewards = [one.segments for one in rollouts], rewards
        whole: list[float | None] = rewards.whole.tolist()
        return whole

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> Batch:
        """TRL's rollouts and rewards, with advantages (B, T) in place of (B,), and is_uncertain
        (B, T) bool where the bounds of Eq 18 can bind."""
        batch, kept = self._scored_rollouts(inputs)
        dropped = (~kept).nonzero().squeeze(1)
        self._metric("dropped_prompts", float(len(dropped)))
        if 0 < len(dropped) <= len(self.spare) and self.accelerator.num_processes == 1:
            others = [vars(self.spare.pop()) for _ in dropped]
            fresh = [other for other in others for _ in range(self._group)]
            more, learned = self._scored_rollouts(fresh)
            rows = (dropped[:, None] * self._group + torch.arange(self._group)).flatten()
            batch = replace_rows(batch, rows, more, self._tokenizer.pad_token_id)
            batch["num_items_in_batch"] = batch["completion_mask"].sum()
            kept[dropped] = learned
            self._metric("refilled_prompts", float(learned.sum()))
        own = kept.repeat_interleave(self._group)[self._own_rows(len(inputs))]
        batch["advantages"] = batch["advantages"] * own.to(batch["advantages"].device)[:, None]
        if "entropies" in batch:
            entropies, mask = batch.pop("entropies"), batch["completion_mask"]
            everyone = [gather(pad_across_processes(table, dim=1)) for table in (entropies, mask)]
            threshold = entropy_threshold(everyone[0], everyone[1], self.config.uncertain_quantile)
            batch["is_uncertain"] = entropies >= threshold
        return batch

    @property
    def _group(self) -> int:
        return self.config.generations

    def _own_rows(self, count: int) -> slice:
        """This process's rows of a table gathered from all, `count` of each."""
        start = self.accelerator.process_index * count
        return slice(start, start + count)

    def _metric(self, name: str, value: float) -> None:
        self._metrics["train"][name].append(value)

    def _scored_rollouts(self, inputs: list[dict[str, Any]]) -> tuple[Batch, torch.Tensor]:
        """TRL's batch with token advantages and, where TRL needed the log-probabilities, token
        entropies; and which groups of all processes teach something, (groups,) bool on CPU."""
        batch: Batch = super()._generate_and_score_completions(inputs)
        if self._scores is not None and "old_per_token_logps" in batch:
            batch["entropies"] = self._scores.tables()[1]
        self._scores = None  # they are of these rollouts only
        device, rewards = self.accelerator.device, self._rewards
        # A group may be spread over processes: normalise over all of them, keep the own rows.
        query, trigger, sequence, whole = (
            gather(torch.from_numpy(part).float().to(device))
            for part in (rewards.query, rewards.trigger, rewards.sequence, rewards.whole)
        )
        own = self._own_rows(len(inputs))
        batch["advantages"] = self._token_advantages(
            query, trigger, sequence, whole, own, batch["completion_ids"].size(1)
        )
        kept = informative_groups(whole, self._group, *self.config.reward_range)
        return batch, kept.cpu()

    def _token_advantages(
        self,
        query: torch.Tensor,
        trigger: torch.Tensor,
        sequence: torch.Tensor,
        whole: torch.Tensor,
        own: slice,
        length: int,
    ) -> torch.Tensor:
        """(B, T): of every token of the own rows, from the rewards of all."""
        bound = self.config.advantage_clip
        if self.config.algorithm == "grpo":
            return sequence_advantages(whole, self._group, bound)[own, None].expand(-1, length)
        slots, structure = list_advantages(
            query, sequence, self._group, self.config.sequence_weight, bound
        )
        slots = torch.cat([slots, trigger_advantages(trigger, self._group, bound)], dim=1)
        segments = pad_segments(self._segments, length).to(slots.device)
        return scatter_advantages(slots[own], structure[own], segments)

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
        self._scores = TokenScores(len(prompt_ids), self.config.temperature)
        written = decode(
            self.accelerator.unwrap_model(self.model),
            prompt_ids,
            self._tokenizer.eos_token_id,
            max_new_tokens=self.config.max_new_tokens,
            sampling=self._sampling(len(prompt_ids)),
            rules=self.layout.rules(prompt_ids) if self.config.rollout_rules else None,
            watch=self._scores,
        )
        return written, None

    def _sampling(self, count: int) -> Sampling:
        """How the next `count` rollouts of this process are drawn: by their numbers."""
        first = self.drawn + self.accelerator.process_index * count
        self.drawn += self.accelerator.num_processes * count
        drawn = noise(self.args.seed, first, count, self.config.max_new_tokens)
        return Sampling(self.config.temperature, self.config.top_k, drawn)

    @property
    def _rollouts_are_own(self) -> bool:
        """Whether this process holds the whole weights, so that it can write the rollouts."""
        return not (self.use_vllm or self.is_deepspeed_enabled or self.is_fsdp_enabled)

    def _compute_loss(self, model: Any, inputs: Batch) -> torch.Tensor:
        """TRL's loss with the bounds of Eq 18 and the entropy bonus of this step."""
        self.entropy_coef = entropy_weight(
            self.state.global_step, self.state.max_steps, self.config.entropy_bonus
        )
        if "is_uncertain" in inputs:
            bounds = clip_bounds(inputs["is_uncertain"], self.config.certain, self.config.uncertain)
            self.epsilon_low, self.epsilon_high = bounds  # type: ignore[assignment]  # floats there
        loss: torch.Tensor = super()._compute_loss(model, inputs)  # type: ignore[no-untyped-call]
        if "is_uncertain" in inputs:
            self._log_clipping(inputs)
        return loss

    def _log_clipping(self, inputs: Batch) -> None:
        """The share of tokens of each class whose gradient the bounds cut."""
        ratio = (self._logps - inputs["old_per_token_logps"]).exp()
        raised, held = inputs["advantages"] > 0, inputs["completion_mask"].bool()
        cut = torch.where(
            raised,
            ratio > 1 + self.epsilon_high,
            (ratio < 1 - self.epsilon_low) & (inputs["advantages"] < 0),
        )
        for name, of_class in (
            ("uncertain", inputs["is_uncertain"]),
            ("certain", ~inputs["is_uncertain"]),
        ):
            counts = torch.stack([(cut & of_class & held).sum(), (of_class & held).sum()])
            clipped, tokens = self.accelerator.reduce(counts, reduction="sum").tolist()
            self._metric(f"clipped/{name}", clipped / max(1, tokens))

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
        scores the prompt too, and runs the prompt once per rollout. Here neither happens, and what
        was scored while it was written is not scored again.
        """
        if self._scores is not None and model is self.model and not torch.is_grad_enabled():
            logps, entropies = self._scores.tables()
            return logps, entropies if compute_entropy else None, None
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
        self._logps = logps.detach()
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
            told, own = ids[:, : last + 1], mask[:, : last + 1].bool()
            prompts = [row[held].tolist() for row, held in zip(told, own, strict=True)]
            logits = logits.masked_fill(~self._allowed(prompts, written), BANNED)
        logps = (logits.float() / self.temperature).log_softmax(dim=-1)
        # A metric, unless an entropy bonus needs its gradient.
        with torch.set_grad_enabled(torch.is_grad_enabled() and self._entropy_bonus_enabled):
            entropies = -(logps.exp() * logps).sum(dim=-1)
        return logps.gather(-1, written[:, :, None]).squeeze(-1), entropies

    def _allowed(self, prompts: list[list[int]], completions: torch.Tensor) -> torch.Tensor:
        """Prompts and their completions (B, T) -> (B, T, V) bool: what the rules allowed at each
        token of the completions."""
        rules, steps = self.layout.rules(prompts), []
        for tokens in completions.T.tolist():
            steps.append(rules.allowed())
            rules.observe(tokens)
        return torch.stack(steps, dim=1)
