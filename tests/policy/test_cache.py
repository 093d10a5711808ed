import torch  # noqa: TID253
from transformers import DynamicCache, Qwen3Config  # noqa: TID253
from transformers.cache_utils import DynamicSlidingWindowLayer  # noqa: TID253

from aigq_tasks.policy.cache import ROOM, RoomyLayer, with_room

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
