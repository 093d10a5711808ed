from typing import Any

import torch  # noqa: TID253
from transformers import DynamicCache, Qwen3Config  # noqa: TID253
from transformers.cache_utils import DynamicSlidingWindowLayer  # noqa: TID253

from aigq_tasks.policy.buffers import PREFILL_ROWS, ROOM
from aigq_tasks.policy.cache import RoomyLayer, shared_prefill, with_room

CONFIG = Qwen3Config(num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2)


def _states(rows: int, tokens: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(rows, 2, tokens, 4), torch.randn(rows, 2, tokens, 4)


def test_room_changes_nothing_but_the_copies() -> None:
    torch.manual_seed(0)
    plain, roomy = DynamicCache(config=CONFIG), DynamicCache(config=CONFIG)
    prompt = _states(3, 5)
    for cache in (plain, roomy):
        for layer in range(2):
            cache.update(*prompt, layer)
    roomy = with_room(roomy)
    rows = 3
    for step in range(2 * ROOM + 3):  # beyond two buffers
        if step == 7:
            for cache in (plain, roomy):
                cache.batch_select_indices(torch.tensor([2, 0]))
            rows = 2
        states = _states(rows, 1)
        for layer in range(2):
            expected, found = (cache.update(*states, layer) for cache in (plain, roomy))
            torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert roomy.get_seq_length() == plain.get_seq_length() == 5 + 2 * ROOM + 3


def test_without_a_prompt_it_starts_empty() -> None:
    cache = with_room(DynamicCache(config=CONFIG))
    keys, values = _states(1, 1)
    assert cache.update(keys, values, 0)[0].equal(keys)
    assert cache.update(keys, values, 0)[1].equal(torch.cat([values, values], dim=2))


def test_layers_that_forget_keep_their_kind() -> None:
    cache = DynamicCache(config=CONFIG)
    cache.layers[1] = DynamicSlidingWindowLayer(sliding_window=4)
    kinds = [type(layer) for layer in with_room(cache).layers]
    assert kinds == [RoomyLayer, DynamicSlidingWindowLayer]


def test_many_prompts_are_prefilled_in_parts(policy: Any) -> None:
    model, _ = policy()
    torch.manual_seed(0)
    rows = 2 * PREFILL_ROWS + 3
    ids, mask = torch.randint(3, 20, (rows, 6)), torch.ones(rows, 6, dtype=torch.int64)
    mask[::2, :2] = 0  # every other prompt is shorter
    ids[5], mask[5] = ids[0], mask[0]  # and one comes twice
    with torch.no_grad():
        cache = shared_prefill(model, ids, mask)
        alone = [shared_prefill(model, ids[i : i + 1], mask[i : i + 1]) for i in range(rows)]
    for layer, *single in zip(cache.layers, *(one.layers for one in alone), strict=True):
        for name in ("keys", "values"):
            together = torch.cat([getattr(one, name) for one in single])
            torch.testing.assert_close(getattr(layer, name), together)
