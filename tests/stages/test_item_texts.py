import pandas as pd
import pytest

from aigq_tasks.context.item_text import ITEM_TOKENS, facets_digest, render_item
from aigq_tasks.policy.backbone import load_backbone, make_deterministic
from aigq_tasks.policy.config import PolicySample, SftConfig
from aigq_tasks.policy.il_sft import train_il_sft
from aigq_tasks.stages.item_model import (
    UNSEEN_SHARE,
    clicked_pairs,
    judge,
    kept_out,
    with_prompts,
    write_texts,
)
from aigq_tasks.stages.item_texts import merge_texts


def items(*rows: tuple[str, str, str]) -> pd.DataFrame:
    """item_id, category, size."""
    table = pd.DataFrame(rows, columns=["item_id", "category", "size"])
    words = [f"name brand; {own.category}; ALL; {own.size}" for own in table.itertuples()]
    return table.assign(attributes=words, title="x")[["item_id", "title", "category", "attributes"]]


TEA, MILK = (render_item(f"name brand; {category}; ALL; 1 LB") for category in ("TEA", "MILK"))
NONE = pd.DataFrame(columns=["item_id", "facets", "text"])
ITEMS = items(("1", "TEA", "1 LB"), ("2", "MILK", "1 LB"), ("3", "TEA", "1 LB"))


def faceted(table: pd.DataFrame) -> pd.DataFrame:
    rows = with_prompts(table)
    return rows.assign(facets=rows["prompt"].map(facets_digest))


def test_an_item_is_known_by_its_latest_facets() -> None:
    moved = pd.concat([items(("1", "COFFEE", "1 LB")), ITEMS])
    assert with_prompts(moved).set_index("item_id")["prompt"].to_dict() == {
        "1": TEA,
        "2": MILK,
        "3": TEA,
    }


def test_pairs_are_facets_and_the_query_that_led_to_them() -> None:
    searches = pd.DataFrame(
        {"event_id": ["s1", "s2", "s3"], "query": ["Green TEA", "milk", "bread"]}
    )
    clicks = pd.DataFrame({"event_id": ["s2", "s1"], "item_id": ["2", "1"]})
    logs = {"items": ITEMS, "searches": searches, "search_clicks": clicks}
    assert clicked_pairs(logs).to_dict("list") == {
        "prompt": [MILK, TEA],
        "query": ["milk", "green tea"],
    }


def test_whole_facets_are_kept_out() -> None:
    prompts = pd.Series([f"<item>{i}<text>" for i in range(4000)] * 2)
    unseen = kept_out(prompts)
    assert unseen[:4000].tolist() == unseen[4000:].tolist()
    assert abs(unseen.mean() - UNSEEN_SHARE) < 0.02


def test_known_facets_keep_their_text() -> None:
    known = pd.DataFrame({"item_id": ["1"], "facets": [facets_digest(TEA)], "text": ["green tea"]})
    merged = merge_texts(known, faceted(ITEMS), {MILK: "milk"})
    assert merged[["item_id", "text"]].to_dict("list") == {
        "item_id": ["1", "2", "3"],
        "text": ["green tea", "milk", "green tea"],
    }
    # On a day without new facets nothing is written, and nothing changes.
    pd.testing.assert_frame_equal(merge_texts(merged, faceted(ITEMS), {}), merged)


def test_an_item_whose_facets_change_gets_another_text() -> None:
    first = merge_texts(NONE, faceted(ITEMS), {TEA: "tea", MILK: "milk"})
    moved = faceted(items(("1", "MILK", "1 LB")))
    again = merge_texts(first, moved, {}).set_index("item_id")["text"]
    assert again.to_dict() == {"1": "milk", "2": "milk", "3": "tea"}


def test_a_text_that_may_not_be_shown_leaves_the_item_its_title() -> None:
    merged = merge_texts(NONE, faceted(ITEMS), {TEA: "", MILK: "x" * 41})
    assert merged.to_dict("list") == {"item_id": [], "facets": [], "text": []}


def test_the_model_learns_what_shoppers_call_an_item() -> None:
    make_deterministic(seed=1, threads=1)
    network, tokenizer = load_backbone("tiny", ITEM_TOKENS)
    pairs = [PolicySample("", TEA, ["iced tea"]), PolicySample("", MILK, ["whole milk"])]
    train_il_sft(
        network,
        tokenizer,
        pairs * 4,
        SftConfig(epochs=60, batch_size=8, learning_rate=3e-3),
        seed=1,
    )
    assert write_texts(network, tokenizer, [MILK, TEA, MILK]) == {
        TEA: "iced tea",
        MILK: "whole milk",
    }
    # Typed were "iced tea", and "milk" for "whole milk": recall 1, precision 1/2, F1 2/3.
    clicks = pd.DataFrame({"prompt": [TEA, MILK], "query": ["iced tea", "milk"]})
    assert judge(network, tokenizer, clicks) == {
        "unseen/clicks": 2.0,
        "unseen/equal": 0.5,
        "unseen/rouge_l": pytest.approx((1 + 2 / 3) / 2, abs=1e-6),
    }
    assert judge(network, tokenizer, clicks.iloc[:0]) == {}
