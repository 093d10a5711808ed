import pytest
import torch  # noqa: TID253

from aigq_tasks.policy.batches import replace_rows


def test_rows_are_replaced_and_tables_widened_on_their_own_side() -> None:
    batch = {
        "prompt_ids": torch.tensor([[5, 6], [9, 7]]),
        "prompt_mask": torch.tensor([[1, 1], [0, 1]]),
        "completion_ids": torch.tensor([[1], [2]]),
        "advantages": torch.tensor([[0.5], [-0.5]]),
        "num_items_in_batch": torch.tensor(2),
    }
    other = {
        "prompt_ids": torch.tensor([[3]]),
        "prompt_mask": torch.tensor([[1]]),
        "completion_ids": torch.tensor([[4, 8]]),
        "advantages": torch.tensor([[1.0, 2.0]]),
        "num_items_in_batch": torch.tensor(9),
    }
    replaced = replace_rows(batch, torch.tensor([1]), other, pad_token=99)
    assert replaced["prompt_ids"].tolist() == [[5, 6], [99, 3]]
    assert replaced["prompt_mask"].tolist() == [[1, 1], [0, 1]]
    assert replaced["completion_ids"].tolist() == [[1, 99], [4, 8]]
    assert replaced["advantages"].tolist() == [[0.5, 0.0], [1.0, 2.0]]
    assert replaced["num_items_in_batch"].item() == 2
    assert batch["completion_ids"].tolist() == [[1], [2]]  # the input stays as it was


def test_batches_of_different_kinds_do_not_mix() -> None:
    with pytest.raises(KeyError, match="old_per_token_logps"):
        replace_rows({}, torch.tensor([0]), {"old_per_token_logps": torch.zeros(1, 1)}, 0)
