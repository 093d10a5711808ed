import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch  # noqa: TID253
from safetensors.torch import load_file

from aigq_tasks.policy import pretrain as module
from aigq_tasks.policy.pretrain import (
    Corpus,
    PretrainConfig,
    batch_texts,
    copy_target,
    learning_rate,
    list_loss,
    make_corpus,
    new_model,
    next_visit_target,
    pretrain,
)
from aigq_tasks.policy.tokenizer import build_tokenizer

# Of each household the days, and of each day the searches | the item texts.
VISITS = {
    "h1": {1: "milk|", 8: "milk|tea", 15: "beer|", 20: "milk,eggs|tea,rye bread", 26: "cocoa|lego",
           28: "soap|"},
    "h2": {2: "tea|", 9: "tea|", 16: "tea|milk", 23: "tea|milk", 30: "beer|"},
    "h3": {5: "lego|", 6: "lego|", 7: "lego|"},
}  # fmt: skip
TINY = PretrainConfig(
    steps=104, batch_size=2, hidden=16, layers=1, heads=1, intermediate=16, phrases=20, words=20
)


def corpus() -> Corpus:
    rows = []
    for user, days in VISITS.items():
        for day, texts in days.items():
            for kind, group in zip(("search", "item_click"), texts.split("|"), strict=True):
                time = pd.Timestamp(2017, 3, day, 10)
                rows += [(user, time, kind, text) for text in group.split(",") if text]
    table = pd.DataFrame(rows, columns=["user_id", "time", "kind", "content"])
    table = table.astype({"time": "datetime64[us]"})
    table = table.sort_values(list(table.columns), ignore_index=True)
    return make_corpus(table, {"h1": "65+ 35-49k", "h2": ""})


CORPUS = corpus()
COUNTS = Counter(str(text) for _, _, texts in CORPUS.histories.groups.values() for text in texts)


def test_user_days_count_from_the_fourth_on() -> None:
    # h1 has six days (numbers 3, 4, 5), h2 five (3, 4), h3 three: none.
    assert CORPUS.keys == [("h1", 3), ("h1", 4), ("h1", 5), ("h2", 3), ("h2", 4)]
    day, searched, clicked = CORPUS.visits["h1"][3]
    assert day == np.datetime64("2017-03-20")
    assert (searched, clicked) == (["eggs", "milk"], ["rye bread", "tea"])


def test_the_copy_target_is_the_history_by_strength() -> None:
    # h1 before 20 March 00:00: milk twice, last 11 whole days ago (8th, 10:00):
    # 2 · exp(-11/45) = 1.57; beer 4 days ago: exp(-4/45) = 0.91; tea 11: exp(-11/45) = 0.78.
    assert copy_target(CORPUS, ("h1", 3), TINY) == ["milk", "beer", "tea"]
    short = TINY.model_copy(update={"list_length": 2})
    assert copy_target(CORPUS, ("h1", 3), short) == ["milk", "beer"]


def test_the_next_visit_target_has_its_groups_in_order() -> None:
    orders = set()
    for seed in range(30):
        rng = np.random.default_rng(seed)
        target = next_visit_target(CORPUS, ("h1", 3), TINY, rng)
        # 20 March: its searches, its item texts, then what is searched until 27 March (the
        # 26th's cocoa; not its clicks, and not soap of the 28th).
        assert sorted(target[:2]) == ["eggs", "milk"]
        assert sorted(target[2:4]) == ["rye bread", "tea"]
        assert target[4:] == ["cocoa"]
        orders.add(tuple(target))
    assert len(orders) == 4  # both groups of two come in both orders


def test_the_next_visit_target_is_unique_and_bounded() -> None:
    rng = np.random.default_rng(0)
    # h2 on 23 March: tea, milk, and within seven days (the 30th) beer.
    assert next_visit_target(CORPUS, ("h2", 3), TINY, rng) == ["tea", "milk", "beer"]
    short = TINY.model_copy(update={"list_length": 2})
    assert next_visit_target(CORPUS, ("h2", 3), short, rng) == ["tea", "milk"]


def test_a_batch_is_a_function_of_seed_and_step() -> None:
    config = TINY.model_copy(update={"batch_size": 24})
    first = batch_texts(CORPUS, config, 7)
    batch_texts(CORPUS, config, 8)  # nothing carries over from another step
    assert batch_texts(CORPUS, config, 7) == first
    assert batch_texts(corpus(), config, 7) == first
    assert batch_texts(CORPUS, config, 8) != first
    assert batch_texts(CORPUS, config.model_copy(update={"seed": 18}), 7) != first


def test_the_curriculum_copies_first_and_then_looks_ahead() -> None:
    update = {"batch_size": 400, "copy_share": ((0, 1.0), (10, 1.0), (20, 0.0), (21, 0.8))}
    config = TINY.model_copy(update=update)
    copies = {"<sep>".join(copy_target(CORPUS, key, config)) for key in CORPUS.keys}

    def share(step: int) -> float:
        return float(np.mean([target in copies for target in batch_texts(CORPUS, config, step)[1]]))

    ahead = {
        "<sep>".join(next_visit_target(CORPUS, key, config, np.random.default_rng(seed)))
        for key in CORPUS.keys
        for seed in range(50)
    }
    assert copies.isdisjoint(ahead)  # so a target tells which kind it is
    assert [share(step) for step in (0, 10, 20)] == [1.0, 1.0, 0.0]
    # Half way from 1 to 0; from step 21 on 0.8. Standard errors 0.025 and 0.02.
    assert share(15) == pytest.approx(0.5, abs=0.1)
    assert share(22) == pytest.approx(0.8, abs=0.08)
    assert share(5000) == pytest.approx(0.8, abs=0.08)


def test_the_prompt_of_a_user_day_ends_before_it() -> None:
    config = TINY.model_copy(update={"batch_size": 50})
    prompts = set(batch_texts(CORPUS, config, 0)[0])
    # 16th, 9th, 2nd at 10:00 seen from 23 March 00:00: 6, 13, 20 whole days; every 7 days.
    assert (
        "<profile><history><6_day_ago><item_click>milk"
        "<6_day_ago><search><3_time><every_7_day>tea<hints>"
    ) in prompts
    assert any(prompt.startswith("<profile>65+ 35-49k<history>") for prompt in prompts)
    assert len(prompts) == len(CORPUS.keys)


def test_learning_rate_warms_up_and_falls_to_a_twentieth() -> None:
    config = PretrainConfig(steps=200, learning_rate=1.0)
    assert learning_rate(0, config) == pytest.approx(1 / 50)
    # Half way: cosine 0.5, so 0.05 + 0.95 / 2.
    assert learning_rate(100, config) == pytest.approx(0.525)
    assert learning_rate(200, config) == pytest.approx(0.05)
    assert max(learning_rate(step, config) for step in range(200)) < 1.0


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    torch.set_num_threads(1)
    return build_tokenizer(COUNTS, 20, 20, ["65+", " 35-49k"])


def test_value_and_output_projections_start_as_transposes(tokenizer: Any) -> None:
    model = new_model(len(tokenizer), tokenizer, TINY)
    attention = model.model.layers[0].self_attn
    # (√0.6 · Bᵀ)(√0.6 · B) = 0.6 · I for an orthogonal B: a token attended to is copied.
    product = attention.o_proj.weight @ attention.v_proj.weight
    torch.testing.assert_close(product, 0.6 * torch.eye(TINY.hidden), atol=1e-5, rtol=0)
    assert model.lm_head.weight is model.get_input_embeddings().weight
    again = new_model(len(tokenizer), tokenizer, TINY)
    assert all(
        torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True)
    )


def test_a_model_that_knows_nothing_loses_the_logarithm_of_the_vocabulary(tokenizer: Any) -> None:
    model = new_model(len(tokenizer), tokenizer, TINY)
    with torch.no_grad():
        model.lm_head.weight.zero_()  # every logit is 0
    loss = list_loss(model, tokenizer, ["<profile><history><hints>"], ["milk<sep>tea"])
    assert loss.item() == pytest.approx(math.log(len(tokenizer)), rel=1e-5)


def test_the_loss_is_a_mean_over_target_tokens(tokenizer: Any) -> None:
    model = new_model(len(tokenizer), tokenizer, TINY)
    with torch.no_grad():
        model.lm_head.weight.mul_(20)  # logits that differ
    short, long = "<profile><history><hints>", "<profile>65+<history><3_day_ago><search>tea<hints>"
    # Targets of 2 (milk <eos>) and 6 tokens (tea <sep> milk <sep> beer <eos>).
    one = list_loss(model, tokenizer, [short], ["milk"]).item()
    two = list_loss(model, tokenizer, [long], ["tea<sep>milk<sep>beer"]).item()
    both = list_loss(model, tokenizer, [short, long], ["milk", "tea<sep>milk<sep>beer"]).item()
    assert abs(one - two) > 0.1  # else the weights would not show
    assert both == pytest.approx((2 * one + 6 * two) / 8, rel=5e-3)  # bfloat16


def test_a_resumed_run_gives_the_weights_of_an_undisturbed_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tokenizer: Any
) -> None:
    whole, _, curve = pretrain(CORPUS, COUNTS, TINY, tmp_path / "whole")

    class Cut(Exception):  # noqa: N818
        pass

    def cut_off(corpus: Corpus, config: PretrainConfig, step: int) -> tuple[list[str], list[str]]:
        if step == 102:  # two steps after the checkpoint: they are lost and done again
            raise Cut
        return batch_texts(corpus, config, step)

    with monkeypatch.context() as patch:
        patch.setattr(module, "batch_texts", cut_off)
        with pytest.raises(Cut):
            pretrain(CORPUS, COUNTS, TINY, tmp_path / "cut")
    seen: list[int] = []

    def noted(corpus: Corpus, config: PretrainConfig, step: int) -> tuple[list[str], list[str]]:
        seen.append(step)
        return batch_texts(corpus, config, step)

    monkeypatch.setattr(module, "batch_texts", noted)
    resumed, _, second_curve = pretrain(CORPUS, COUNTS, TINY, tmp_path / "cut")
    assert seen == [100, 101, 102, 103]
    assert second_curve == curve
    assert [point["step"] for point in curve] == [100, 104]
    assert curve[1]["loss"] < math.log(len(tokenizer)) / 2  # it learned something on the way
    for name, tensor in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], tensor), name
    # The moments too; not the bytes of the file: safetensors orders its metadata at random.
    one, two = (load_file(tmp_path / run / "checkpoint.safetensors") for run in ("whole", "cut"))
    assert any(name.startswith("exp_avg_sq.") for name in one)
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert [path.name for path in (tmp_path / "cut").iterdir()] == ["checkpoint.safetensors"]
