import runpy
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


def test_credit_per_query_learns_a_list_that_credit_per_list_does_not() -> None:
    learn = runpy.run_path(str(EXAMPLES / "il_grpo_toy.py"))["learn"]
    for seed in range(3):
        assert learn("il_grpo", seed) > learn("grpo", seed) + 0.2
