"""A policy that is loaded to write alone writes what transformers' own would, and asks it of
nothing; what it cannot be sure of it leaves to transformers."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch  # noqa: TID253

from aigq_tasks.errors import AigqError
from aigq_tasks.policy.backbone import TINY, load_backbone, load_policy, load_writer, save_policy
from aigq_tasks.policy.frozen import FrozenQwen, FrozenTokenizer, frozen_policy
from aigq_tasks.policy.generate import generate_lists
from aigq_tasks.policy.parse import ListFormat

PROMPTS = [
    "<profile> 65+ <history> <1_day_ago><search> whole milk <hints>",
    "<history> <0_day_ago><item_click> crème brûlée 12 pk <3_day_ago><search> soda <hints>",
    "",
]


def base_files() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in TINY.iterdir()}


@pytest.fixture(params=["base", "saved", "more tokens"])
def files(request: pytest.FixtureRequest) -> dict[str, bytes]:
    if request.param == "base":
        return base_files()
    more = ["<think>", "<trigger>"] if request.param == "more tokens" else []
    return save_policy(*load_backbone("tiny", more))


def test_it_is_read_without_transformers(files: dict[str, bytes]) -> None:
    model, tokenizer = load_writer(files)
    assert isinstance(model, FrozenQwen)
    assert isinstance(tokenizer, FrozenTokenizer)


def test_weights_and_tokens_are_those_that_transformers_reads(files: dict[str, bytes]) -> None:
    (own, own_tokenizer), (theirs, tokenizer) = load_writer(files), load_policy(files)
    expected = FrozenQwen.of(theirs)
    for number in range(3):
        for name, tensor in expected.layer(number).items():
            assert torch.equal(own.layer(number)[name], tensor), name
    assert torch.equal(own.head, expected.head)
    assert torch.equal(own.embedding, expected.embedding)
    assert torch.equal(own.norm, expected.norm)
    assert own.config.vocab_size == theirs.get_output_embeddings().weight.size(0)
    assert own_tokenizer.get_vocab() == tokenizer.get_vocab()
    assert set(own_tokenizer.all_special_ids) == set(tokenizer.all_special_ids)
    assert ListFormat.of(own_tokenizer) == ListFormat.of(tokenizer)
    ids = own_tokenizer(PROMPTS)["input_ids"]
    assert ids == tokenizer(PROMPTS)["input_ids"]
    for own_ids in ids:
        assert own_tokenizer.decode(own_ids) == tokenizer.decode(own_ids)
        assert own_tokenizer.convert_ids_to_tokens(own_ids) == tokenizer.convert_ids_to_tokens(
            own_ids
        )


def test_it_writes_the_same_lists(threads: None, files: dict[str, bytes]) -> None:
    written = [
        generate_lists(*load(files), PROMPTS[:2] * 5, 6) for load in (load_writer, load_policy)
    ]
    assert written[0] == written[1]
    assert all(one.valid for one in written[0])


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        ("config.json", {"model_type": "llama"}),
        ("config.json", {"attention_bias": True}),
        ("config.json", {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}}),
        ("config.json", {"layer_types": ["sliding_attention"] * 3}),
        ("config.json", {"quantization_config": {"bits": 4}}),
        ("tokenizer_config.json", {"clean_up_tokenization_spaces": True}),
        ("tokenizer_config.json", {"eos_token": {"content": "<eos>", "lstrip": True}}),
    ],
)
def test_what_is_not_plain_is_left_to_transformers(file: str, changes: dict[str, Any]) -> None:
    files = base_files()
    files[file] = json.dumps(json.loads(files[file]) | changes).encode()
    assert frozen_policy(files) is None


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_file_that_lacks_is_left_to_transformers(file: str) -> None:
    files = base_files()
    del files[file]
    assert frozen_policy(files) is None


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_damaged_file_is_one_clear_line(file: str) -> None:
    with pytest.raises(AigqError, match="no language model at"):
        load_writer(base_files() | {file: b"{"})


def test_it_does_not_train() -> None:
    model, _ = load_writer(base_files())
    assert model.train(model.eval().training) is model
    with pytest.raises(ValueError, match="only writes"):
        model.train()


def test_a_process_that_writes_never_loads_transformers(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path\n"
        "from aigq_tasks.policy.backbone import TINY, load_writer, make_deterministic\n"
        "from aigq_tasks.policy.generate import generate_lists\n"
        "make_deterministic(0, 1)\n"
        "files = {path.name: path.read_bytes() for path in TINY.iterdir()}\n"
        "generate_lists(*load_writer(files), ['<history> milk <hints>'], 2)\n"
        "print('transformers' in sys.modules)\n"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout == "False\n"


def test_every_generator_is_seeded() -> None:
    import random

    import numpy as np

    from aigq_tasks.policy.backbone import make_deterministic

    def drawn() -> tuple[float, float, float]:
        make_deterministic(7, torch.get_num_threads())
        return random.random(), float(np.random.random()), float(torch.rand(()))

    first = drawn()
    assert drawn() == first
    from transformers import set_seed

    set_seed(7)
    assert (random.random(), float(np.random.random()), float(torch.rand(()))) == first
