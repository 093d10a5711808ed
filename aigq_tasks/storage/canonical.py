"""Canonical JSON: one byte string per value, so that digests of equal records are equal."""

import json
from typing import Any


def to_json(value: Any) -> bytes:
    """UTF-8 JSON with sorted keys and no spaces. NaN and infinity raise ValueError."""
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode()


def leaves(value: Any, path: str = "") -> dict[str, Any]:
    """Nested settings by dotted names: {"sft": {"epochs": 2}} -> {"sft.epochs": 2}."""
    if not isinstance(value, dict):
        return {path: value}
    return {
        name: leaf
        for key, inner in value.items()
        for name, leaf in leaves(inner, f"{path}.{key}" if path else str(key)).items()
    }
