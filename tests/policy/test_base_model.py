"""The committed base model: its files, its card, and that it can be used."""

import json
from datetime import date
from pathlib import Path

import pytest

import aigq_tasks.policy
from aigq_tasks.policy.backbone import load_backbone
from aigq_tasks.policy.generate import generate_lists
from aigq_tasks.policy.pretrain import PretrainConfig
from aigq_tasks.research.base_model import CUTOFF
from aigq_tasks.storage.objects import sha256

BASE = Path(aigq_tasks.policy.__file__).parent / "base"


@pytest.fixture(scope="module")
def card() -> dict[str, object]:
    loaded: dict[str, object] = json.loads((BASE / "card.json").read_text())
    return loaded


def test_card_and_files_agree(card: dict[str, object]) -> None:
    found = {
        path.name: sha256(path.read_bytes())
        for path in BASE.iterdir()
        if path.name not in ("card.json", "README.md")
    }
    assert found == card["digests"]


def test_the_card_names_how_it_was_made(card: dict[str, object]) -> None:
    # The committed settings are the defaults of `aigq pretrain`, so its command remakes it.
    assert card["config"] == PretrainConfig().model_dump(mode="json")
    assert date.fromisoformat(card["data"]["last_day"]) < CUTOFF  # type: ignore[index]
    curve = card["curve"]
    assert curve[-1]["step"] == PretrainConfig().steps  # type: ignore[index]


def test_it_is_small_and_writes_lists() -> None:
    assert sum(path.stat().st_size for path in BASE.iterdir()) <= 16 * 2**20
    model, tokenizer = load_backbone("tiny")
    assert sum(parameter.numel() for parameter in model.parameters()) <= 8_000_000
    prompt = "<profile><history><1_day_ago><search><2_time><every_7_day>milk<hints>"
    (parsed,) = generate_lists(model, tokenizer, [prompt], 5)
    assert parsed.valid
    assert len(set(parsed.queries)) == 5


def test_it_reads_the_history() -> None:
    """A base that ignored the prompt would write the same list for every shopper."""
    model, tokenizer = load_backbone("tiny")
    histories = ("cat litter", "newspaper", "baby wipes")
    prompts = [
        f"<profile><history><1_day_ago><search><6_time><every_3_day>{query}<hints>"
        for query in histories
    ]
    for query, parsed in zip(histories, generate_lists(model, tokenizer, prompts, 5), strict=True):
        assert query in parsed.queries
