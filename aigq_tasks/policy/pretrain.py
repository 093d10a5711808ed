"""Pre-training of the `tiny` base model: learn to read a shopper's history.

The base plays the part that a hub checkpoint plays for bigger models. It sees searches and item
clicks of before a fixed cut-off, no hint, no click on a hint, and nothing of the days that any
command trains or evaluates on later. Models of this size trained on next-visit lists alone end
as popularity tables: they never find out that the prompt matters. Two things cure it:

- initialisation: value and output projections start as a scaled orthogonal matrix and its
  transpose, so a head that attends to a token writes that token's own embedding, which the tied
  output layer reads as "say this" (mimetic initialisation, Trockman & Kolter 2023); embeddings
  start with norm 1, so that it can say so sharply;
- a curriculum: first the target is the history's own strongest contents in order (copying, a
  noise-free task), then half of the targets are what the next visit really asked for.
"""

import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict
from rich.progress import Progress

from aigq_tasks.context.prompt import Histories, render_prompt, render_target
from aigq_tasks.policy.backbone import fast_products
from aigq_tasks.policy.tokenizer import build_tokenizer


class PretrainConfig(BaseModel):
    """What `aigq pretrain` turns. Steps, not minutes: the same steps give the same bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = 17
    steps: int = 3000
    batch_size: int = 24
    learning_rate: float = 2e-3
    # (step, share of copying targets), linear in between. Copying never stops: on next visits
    # alone the heads forgot it again.
    copy_share: tuple[tuple[int, float], ...] = ((0, 1.0), (350, 1.0), (700, 0.5))
    history_lines: int = 48
    list_length: int = 20
    hidden: int = 192
    layers: int = 3
    heads: int = 3
    intermediate: int = 512
    phrases: int = 5000
    words: int = 1500


@dataclass(frozen=True)
class Corpus:
    """Behaviours before the cut-off, and the user-days a list can be trained on.

    visits[user]: (day, searched contents, clicked contents) in day order; keys: (user, index)."""

    histories: Histories
    profiles: dict[str, str]
    visits: dict[str, list[tuple[np.datetime64, list[str], list[str]]]]
    keys: list[tuple[str, int]]


def make_corpus(behaviours: pd.DataFrame, profiles: dict[str, str]) -> Corpus:
    """Group behaviours into user-days; a user-day is trained on if three came before it."""
    days = behaviours.assign(day=behaviours["time"].to_numpy().astype("M8[D]"))
    visits: dict[str, list[tuple[np.datetime64, list[str], list[str]]]] = {}
    for (user, day), rows in days.groupby(["user_id", "day"], sort=True):
        searched = rows["kind"].to_numpy() == "search"
        contents = rows["content"].to_numpy()
        visit = (np.datetime64(cast(date, day), "D"), [*contents[searched]], [*contents[~searched]])
        visits.setdefault(str(user), []).append(visit)
    keys = [(user, i) for user, list_ in visits.items() for i in range(3, len(list_))]
    return Corpus(Histories.of(behaviours), profiles, visits, keys)


def copy_target(corpus: Corpus, key: tuple[str, int], config: PretrainConfig) -> list[str]:
    """The history's own contents, strongest first: times · exp(−days_ago / 45)."""
    user, i = key
    lines = corpus.histories.lines(user, corpus.visits[user][i][0], config.history_lines)
    lines.sort(key=lambda e: (-e.times * math.exp(-e.days_ago / 45.0), e.content))
    return [line.content for line in lines[: config.list_length]]


def next_visit_target(
    corpus: Corpus, key: tuple[str, int], config: PretrainConfig, rng: np.random.Generator
) -> list[str]:
    """What the day asked for: its searches, then its item texts, then the searches of the
    following week, each group shuffled (a visit has no order worth learning), unique."""
    user, i = key
    days = corpus.visits[user]
    day, searches, clicks = days[i]
    groups = [searches, clicks]
    groups += [later[1] for later in days[i + 1 :] if (later[0] - day).astype(int) <= 7]
    queries = [str(query) for group in groups for query in rng.permutation(group)]
    return list(dict.fromkeys(queries))[: config.list_length]


def batch_texts(corpus: Corpus, config: PretrainConfig, step: int) -> tuple[list[str], list[str]]:
    """Prompts and targets of a step; a function of (seed, step), so a resumed run sees the
    same batches as an undisturbed one."""
    rng = np.random.default_rng([config.seed, step])
    chosen = rng.integers(len(corpus.keys), size=config.batch_size)
    steps, shares = zip(*config.copy_share, strict=True)
    copy_share = float(np.interp(step, steps, shares))
    prompts, targets = [], []
    for k in chosen:
        key = corpus.keys[int(k)]
        user, i = key
        lines = corpus.histories.lines(user, corpus.visits[user][i][0], config.history_lines)
        prompts.append(render_prompt(corpus.profiles.get(user, ""), lines))
        queries = (
            copy_target(corpus, key, config)
            if rng.random() < copy_share
            else next_visit_target(corpus, key, config, rng)
        )
        targets.append(render_target(queries))
    return prompts, targets


def new_model(vocab_size: int, tokenizer: Any, config: PretrainConfig) -> Any:
    """A Qwen3-shaped causal LM with mimetic value·output initialisation, float32."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(config.seed)
    model = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=vocab_size,
            hidden_size=config.hidden,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            num_key_value_heads=config.heads,
            head_dim=config.hidden // config.heads,
            intermediate_size=config.intermediate,
            max_position_embeddings=2048,
            tie_word_embeddings=True,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=None,
        )
    )
    with torch.no_grad():
        # Rows of norm 1: with the usual 0.02 the tied output layer cannot tell one of 6,000
        # phrases from the others until the norms have grown, and copying starts late (measured:
        # loss 2.7 after 140 steps instead of 3.0 after 300).
        model.model.embed_tokens.weight.normal_(std=config.hidden**-0.5)
        for layer in model.model.layers:
            basis, _ = torch.linalg.qr(torch.randn(config.hidden, config.hidden))
            layer.self_attn.v_proj.weight.copy_(basis * math.sqrt(0.6))
            layer.self_attn.o_proj.weight.copy_(basis.T * math.sqrt(0.6))
    return model


def list_loss(model: Any, tokenizer: Any, prompts: list[str], targets: list[str]) -> Any:
    """Mean negative log-likelihood of the target tokens (Eq 5), scalar float32 tensor.

    The language-model head runs on target positions only: with a vocabulary of whole phrases
    it costs as much as the layers."""
    import torch

    ends = [target + tokenizer.eos_token for target in targets]
    left = tokenizer(prompts, add_special_tokens=False)["input_ids"]
    right = tokenizer(ends, add_special_tokens=False)["input_ids"]
    rows = [torch.tensor(a + b) for a, b in zip(left, right, strict=True)]
    ids = torch.nn.utils.rnn.pad_sequence(rows, True, float(tokenizer.pad_token_id)).long()
    position = torch.arange(ids.shape[1])[None]
    starts = torch.tensor([len(a) for a in left])[:, None]
    stops = torch.tensor([len(row) for row in rows])[:, None]
    supervised = ((position >= starts) & (position < stops))[:, 1:]
    with fast_products():
        hidden = model.model(input_ids=ids, attention_mask=(position < stops).long())
        logits = model.lm_head(hidden.last_hidden_state[:, :-1][supervised])
    return torch.nn.functional.cross_entropy(logits.float(), ids[:, 1:][supervised])


def learning_rate(step: int, config: PretrainConfig) -> float:
    """50 warm-up steps, then a cosine down to a twentieth."""
    cosine = 0.5 * (1 + math.cos(math.pi * step / config.steps))
    return config.learning_rate * min(1.0, (step + 1) / 50) * (0.05 + 0.95 * cosine)


def pretrain(
    corpus: Corpus, counts: Mapping[str, int], config: PretrainConfig, checkpoint: Path
) -> tuple[Any, Any, list[dict[str, float]]]:
    """Train the base; returns (model, tokenizer, curve). counts: occurrences of each text, for
    the tokenizer. Resumes from `checkpoint` (a folder),
    which is written every 100 steps, and gives the same weights as an undisturbed run."""
    import torch

    words = [text.split(" ") for text in corpus.profiles.values() if text]
    whole = {word if i == 0 else f" {word}" for row in words for i, word in enumerate(row)}
    tokenizer = build_tokenizer(counts, config.phrases, config.words, whole)
    model = new_model(len(tokenizer), tokenizer, config)
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.95), weight_decay=0.05)
    start, curve = _resume(checkpoint, model, optimizer)
    recent: list[float] = []
    began = time.monotonic()
    with Progress() as progress:
        task = progress.add_task("pretrain", total=config.steps, completed=start)
        for step in range(start, config.steps):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step, config)
            loss = list_loss(model, tokenizer, *batch_texts(corpus, config, step))
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            recent.append(loss.item())
            progress.update(task, advance=1, description=f"pretrain loss {recent[-1]:.3f}")
            if (step + 1) % 100 == 0 or step + 1 == config.steps:
                curve.append({"step": step + 1, "loss": round(float(np.mean(recent)), 4)})
                recent.clear()
                _save(checkpoint, model, optimizer, step + 1, curve)
                print(curve[-1], f"{time.monotonic() - began:.0f} s", flush=True)
    return model, tokenizer, curve


def _save(
    folder: Path, model: Any, optimizer: Any, step: int, curve: list[dict[str, float]]
) -> None:
    """Checkpoint without pickle: weights and both AdamW moments as one safetensors file, which
    replaces the one before in a single rename."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    tensors = {f"model.{name}": p.detach() for name, p in model.named_parameters()}
    for parameter, state in optimizer.state.items():
        for key in ("exp_avg", "exp_avg_sq"):
            tensors[f"{key}.{names[id(parameter)]}"] = state[key]
    metadata = {"state": json.dumps({"step": step, "curve": curve})}
    save_file(tensors, folder / "new.safetensors", metadata)
    (folder / "new.safetensors").replace(folder / "checkpoint.safetensors")


def _resume(folder: Path, model: Any, optimizer: Any) -> tuple[int, list[dict[str, float]]]:
    import torch
    from safetensors import safe_open

    path = folder / "checkpoint.safetensors"
    if not path.is_file():
        return 0, []
    with safe_open(path, "pt") as file, torch.no_grad():
        state = json.loads(file.metadata()["state"])
        for name, parameter in model.named_parameters():
            parameter.copy_(file.get_tensor(f"model.{name}"))
            optimizer.state[parameter] = {
                "step": torch.tensor(float(state["step"])),
                "exp_avg": file.get_tensor(f"exp_avg.{name}"),
                "exp_avg_sq": file.get_tensor(f"exp_avg_sq.{name}"),
            }
    return state["step"], state["curve"]
