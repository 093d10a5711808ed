import runpy
from pathlib import Path

import pytest
import torch  # noqa: TID253

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Small tensors: more threads only wait for each other."""
    torch.set_num_threads(1)


def test_credit_per_query_learns_a_list_that_credit_per_list_does_not() -> None:
    learn = runpy.run_path(str(EXAMPLES / "il_grpo_toy.py"))["learn"]
    for seed in range(3):
        assert learn("il_grpo", seed) > learn("grpo", seed) + 0.2


def test_any_model_learns_in_forty_lines() -> None:
    example = EXAMPLES / "il_grpo_any_model.py"
    assert len(example.read_text().splitlines()) <= 40
    # An untrained model fills each query with 16 words: 0.25 / 16 at best. A drink alone: 0.25.
    told = runpy.run_path(str(example))
    assert told["before"] < 0.05
    assert told["after"] > told["before"] + 0.1
