from typing import Any

import pytest
import torch  # noqa: TID253

from aigq_tasks.errors import AigqError
from aigq_tasks.policy.backbone import fast_products, save_policy
from aigq_tasks.policy.config import PolicySample, SftConfig
from aigq_tasks.policy.generate import generate_lists
from aigq_tasks.policy.il_sft import train_il_sft

LISTS = [["whole milk", "tea"], ["beer"], ["rye bread", "eggs", "milk"], ["free range eggs"]]


@pytest.fixture
def samples(prompts: list[str]) -> list[PolicySample]:
    return [
        PolicySample(f"u{i}", prompt, queries)
        for i, (prompt, queries) in enumerate(zip(prompts, LISTS, strict=True))
    ]


def test_the_loss_is_the_cross_entropy_of_the_target_tokens_alone(
    policy: Any, samples: list[PolicySample]
) -> None:
    model, tokenizer = policy()
    # Eq 5-6 by hand, one sample at a time without padding: every target token, the separators
    # and the end among them, given all tokens before it.
    losses = []
    for sample in samples:
        prompt = tokenizer(sample.prompt)["input_ids"]
        target = tokenizer("<sep>".join(sample.reference) + "<eos>")["input_ids"]
        with torch.no_grad(), fast_products():  # as in training
            logits = model(torch.tensor([prompt + target])).logits[0].float()
        for t, token in enumerate(target):
            losses.append(-logits[len(prompt) + t - 1].log_softmax(-1)[token].item())
    assert len(losses) == 5 + 2 + 7 + 4
    config = SftConfig(max_steps=1, batch_size=4)
    [entry] = train_il_sft(model, tokenizer, samples, config, seed=0)
    assert entry["loss"] == pytest.approx(sum(losses) / len(losses), abs=1e-3)


def test_the_model_learns_which_list_belongs_to_which_prompt(
    policy: Any, samples: list[PolicySample]
) -> None:
    model, tokenizer = policy()
    config = SftConfig(epochs=60, batch_size=4, learning_rate=5e-3)
    history = train_il_sft(model, tokenizer, samples, config, seed=0)
    assert history[-1]["loss"] < 0.1 < history[0]["loss"]
    prompts = [sample.prompt for sample in samples]
    lists = generate_lists(model, tokenizer, prompts, k=3, exactly_k=False)
    assert [parsed.queries for parsed in lists] == LISTS


def test_two_runs_are_equal_and_leave_a_plain_model(
    policy: Any, samples: list[PolicySample]
) -> None:
    runs = []
    for _ in range(2):
        model, tokenizer = policy()
        history = train_il_sft(model, tokenizer, samples, SftConfig(epochs=2, batch_size=2), seed=3)
        runs.append((history, save_policy(model, tokenizer)))
        assert "forward" not in vars(model)  # TRL's patch is gone
        assert not model.training
    assert runs[0] == runs[1]
    assert [entry["step"] for entry in runs[0][0]] == [1, 2, 3, 4]


def test_no_samples_is_an_error(policy: Any) -> None:
    model, tokenizer = policy()
    with pytest.raises(AigqError, match="no samples"):
        train_il_sft(model, tokenizer, [], SftConfig(), seed=0)
