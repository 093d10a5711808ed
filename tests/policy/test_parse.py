from typing import Any

import pytest

from aigq_tasks.errors import AigqError
from aigq_tasks.policy.parse import ListFormat, parse_completion, parse_completions

# A vocabulary small enough to read: 0 <eos>, 1 <sep>, 2 another special token, 9 "!".
FORMAT = ListFormat(sep=1, eos=0, text=frozenset({3, 4, 5, 9}))
TEXT = {3: "Whole ", 4: "Milk", 5: "bread", 9: "!"}


def decode(ids: tuple[int, ...]) -> str:
    return "".join(TEXT[i] for i in ids)


@pytest.mark.parametrize(
    ("ids", "queries", "spans", "reason"),
    [
        ([3, 4, 1, 5, 0], ["whole milk", "bread"], [0, 0, -1, 1, -1], ""),
        ([4, 0, 0, 7], ["milk"], [0, -1, -1, -1], ""),  # after the end: padding, whatever it is
        ([4, 1, 5], ["milk"], [0, -1, -1], "truncated"),  # "bread" may have been "bread rolls"
        ([4, 1], ["milk"], [0, -1], "truncated"),
        ([], [], [], "truncated"),
        ([0], [], [-1], "empty query"),
        ([1, 4, 0], ["milk"], [-1, 0, -1], "empty query"),
        ([4, 1, 1, 5, 0], ["milk", "bread"], [0, -1, -1, 1, -1], "empty query"),  # moves up
        ([9, 1, 4, 0], ["milk"], [-1, -1, 0, -1], "empty query"),  # "!" normalises to nothing
        ([4, 1, 0], ["milk"], [0, -1, -1], "trailing separator"),
        ([3, 2, 4, 1, 5, 0], ["bread"], [-1, -1, -1, -1, 0, -1], "special token"),
        ([4, 1, 6, 0], ["milk"], [0, -1, -1, -1], "special token"),  # 6 is no token at all
        ([4, 1, 5, 1, 3, 0], ["milk", "bread"], [0, -1, 1, -1, -1, -1], "too many queries"),
    ],
)
def test_each_kind_of_completion(
    ids: list[int], queries: list[str], spans: list[int], reason: str
) -> None:
    parsed = parse_completion(ids, FORMAT, decode, max_queries=2)
    assert (parsed.queries, parsed.spans, parsed.reason) == (queries, spans, reason)
    assert parsed.valid == (reason == "")


def test_a_tokenizer_gives_its_own_format(policy: Any) -> None:
    model, tokenizer = policy()
    ids = tokenizer("free range eggs<sep>rye bread<eos>")["input_ids"]
    outside = model.config.vocab_size + 5
    special = tokenizer.convert_tokens_to_ids(["tea", "<search>", "<eos>"])
    unknown = [tokenizer.unk_token_id, tokenizer.eos_token_id]
    whole, marked, unseen, wide = parse_completions(
        [ids, special, unknown, [outside, tokenizer.eos_token_id]], tokenizer, max_queries=10
    )
    assert whole.queries == ["free range eggs", "rye bread"]
    assert whole.spans == [0, 0, 0, -1, 1, 1, -1]
    assert {marked.reason, unseen.reason, wide.reason} == {"special token"}


def test_a_tokenizer_without_separator_is_an_error_that_says_what_to_do(policy: Any) -> None:
    _, tokenizer = policy()
    tokenizer.eos_token = None
    with pytest.raises(AigqError, match="load_backbone"):
        ListFormat.of(tokenizer)
