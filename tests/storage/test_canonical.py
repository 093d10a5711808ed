"""Canonical JSON, and nested settings by their names."""

import pytest

from aigq_tasks.storage.canonical import leaves, to_json


def test_equal_values_give_equal_bytes() -> None:
    assert to_json({"b": [1, "é"], "a": None}) == '{"a":null,"b":[1,"é"]}'.encode()
    assert to_json({"a": None, "b": [1, "é"]}) == to_json({"b": [1, "é"], "a": None})
    with pytest.raises(ValueError, match="JSON compliant"):
        to_json(float("nan"))


def test_nested_settings_go_by_dotted_names() -> None:
    nested = {"seed": 17, "sft": {"epochs": 2, "clip": {"low": 0.2}}, "tokens": ["a"], "none": {}}
    assert leaves(nested) == {"seed": 17, "sft.epochs": 2, "sft.clip.low": 0.2, "tokens": ["a"]}
