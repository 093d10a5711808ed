"""A stored policy that only writes: its weights and its tokenizer, without the library that trains.

Importing transformers' models takes a process three seconds of CPU, a quarter to a half of what the
stages cost that only write (`u2q`, `x2q`, `item-texts`, `servable`) in a small shop.
`steps.QwenSteps` needs of a Qwen3 its matrices and a few numbers, and `tokenizers` reads the
tokenizer's file by itself. Whatever is no plain Qwen3 is loaded by transformers
(`backbone.load_policy`), and writes the same.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, ClassVar

import torch  # noqa: TID253  everything here holds tensors

PLAIN = {
    "model_type": "qwen3",
    "hidden_act": "silu",
    "attention_bias": False,
    "use_sliding_window": False,
}
TOKENIZER, SETTINGS, WEIGHTS, CONFIG = (
    "tokenizer.json",
    "tokenizer_config.json",
    "model.safetensors",
    "config.json",
)


@dataclass(frozen=True)
class FrozenQwen:
    """A Qwen3 on the CPU in float32, evaluation mode, for `steps.QwenSteps`.

    tensors: as the state of transformers' model names them; config: its configuration.
    """

    tensors: Mapping[str, torch.Tensor]
    config: Any
    device: ClassVar[torch.device] = torch.device("cpu")
    training: ClassVar[bool] = False

    @classmethod
    def of(cls, model: Any) -> "FrozenQwen":
        """The weights of transformers' model as they are now: no copy."""
        return cls(model.state_dict(), model.config)

    def layer(self, number: int) -> dict[str, torch.Tensor]:
        """The tensors of a layer, "self_attn.q_proj" ..., by their names in it."""
        start, end = f"model.layers.{number}.", ".weight"
        return {
            name.removeprefix(start).removesuffix(end): tensor
            for name, tensor in self.tensors.items()
            if name.startswith(start)
        }

    @property
    def embedding(self) -> torch.Tensor:
        return self.tensors["model.embed_tokens.weight"]

    @property
    def head(self) -> torch.Tensor:
        """That of the embedding where the two are tied: then it is stored once."""
        return self.tensors.get("lm_head.weight", self.embedding)

    @property
    def norm(self) -> torch.Tensor:
        return self.tensors["model.norm.weight"]

    def eval(self) -> "FrozenQwen":
        return self

    def train(self, mode: bool = True) -> "FrozenQwen":
        """Nothing: who decodes puts back the mode that was."""
        if mode:
            raise ValueError("a frozen policy only writes: load_policy gives one to train")
        return self


class FrozenTokenizer:
    """What writing asks of a Hugging Face tokenizer, from its files alone."""

    def __init__(self, tokenizer: bytes, settings: Mapping[str, Any]) -> None:
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_buffer(tokenizer)
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        special = [token for token in _named_tokens(settings) if token]
        special += settings["extra_special_tokens"]
        self.all_special_ids = [self._tokenizer.token_to_id(token) for token in special]
        self.eos_token_id = self._tokenizer.token_to_id(settings["eos_token"])

    def __call__(self, texts: Sequence[str]) -> dict[str, list[list[int]]]:
        return {"input_ids": [own.ids for own in self._tokenizer.encode_batch(list(texts))]}

    def get_vocab(self) -> dict[str, int]:
        vocabulary: dict[str, int] = self._tokenizer.get_vocab()
        return vocabulary

    def convert_ids_to_tokens(self, ids: Sequence[int]) -> list[str]:
        return [str(self._tokenizer.id_to_token(token)) for token in ids]

    def decode(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=False))


def is_plain(config: Any) -> bool:
    """Whether `steps.QwenSteps` computes what the forward of a model with this configuration
    would, in float32 on the CPU. config: transformers' own, or what its file holds as names."""
    return (
        all(getattr(config, name, None) == value for name, value in PLAIN.items())
        and set(config.layer_types or ()) == {"full_attention"}
        and config.rope_parameters["rope_type"] == "default"
        and getattr(config, "quantization_config", None) is None
    )


def frozen_policy(files: Mapping[str, bytes]) -> tuple[Any, Any] | None:
    """Model and tokenizer of the files of a policy (`backbone.save_policy`), to write with; None
    where they are none that can be read without transformers."""
    if not files.keys() >= {TOKENIZER, SETTINGS, WEIGHTS, CONFIG}:
        return None
    try:
        return _read(files)
    except Exception:  # whatever is wrong with them: transformers says it
        return None


def _read(files: Mapping[str, bytes]) -> tuple[Any, Any] | None:
    from safetensors.torch import load

    config = SimpleNamespace(**json.loads(files[CONFIG]))
    settings = json.loads(files[SETTINGS])
    if not _known(config, settings):
        return None
    tensors = {name: tensor.float() for name, tensor in load(files[WEIGHTS]).items()}
    return FrozenQwen(tensors, config), FrozenTokenizer(files[TOKENIZER], settings)


def _known(config: Any, settings: Mapping[str, Any]) -> bool:
    return (
        hasattr(config, "layer_types")
        and hasattr(config, "rope_parameters")
        and is_plain(config)
        and isinstance(settings.get("eos_token"), str)
        and all(token is None or isinstance(token, str) for token in _named_tokens(settings))
        and isinstance(settings.get("extra_special_tokens"), list)
        and settings.get("clean_up_tokenization_spaces") is False
    )


def _named_tokens(settings: Mapping[str, Any]) -> list[Any]:
    """The special tokens that a tokenizer has a name for, None for one that it lacks."""
    return [settings.get(f"{name}_token") for name in ("bos", "eos", "unk", "pad")]
