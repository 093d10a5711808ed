import math

import numpy as np
import pandas as pd
import pytest
import torch  # noqa: TID253
from hypothesis import given, settings
from hypothesis import strategies as st
from recall.source_cases import AS_OF, RecallSourceCases, behaviours

from aigq_tasks.errors import AigqError
from aigq_tasks.recall import ebr, popularity
from aigq_tasks.recall.config import EbrConfig

SEED = 0
SMALL = EbrConfig(dim=8, hidden=8, epochs=12, states_per_batch=32, learning_rate=0.03)


class TestEbr(RecallSourceCases):
    exact = False

    @staticmethod
    def build(history: pd.DataFrame, as_of: pd.Timestamp) -> ebr.Ebr:
        return ebr.train(history, as_of, EbrConfig(dim=8, hidden=8, epochs=2), SEED)[0]


def planted() -> pd.DataFrame:
    """60 users click pet i, and on later days search milk as often as food i.

    Pets and foods share no word, so only the pattern in the log links them. One user of each pet
    ("new") has only clicked so far.
    """
    rng = np.random.default_rng(0)
    rows = []
    for user in range(60):
        pet = user % 6
        for day in range(1, rng.integers(3, 16)):
            rows.append((f"u{user}", day + 0.5, "item_click", f"pet{pet}"))
            query = "milk" if rng.random() < 0.5 else f"food{pet}"
            rows.append((f"u{user}", day + 0.4, "search", query))
    rows += [(f"new{pet}", 1.5, "item_click", f"pet{pet}") for pet in range(6)]
    return behaviours(*rows)


@pytest.fixture(scope="module")
def learned() -> tuple[ebr.Ebr, list[float]]:
    return ebr.train(planted(), AS_OF, SMALL, SEED)


def test_it_learns_what_popularity_cannot_know(learned: tuple[ebr.Ebr, list[float]]) -> None:
    model, losses = learned
    assert losses[-1] < 0.8 * losses[0]
    users = [f"new{pet}" for pet in range(6)]
    found = model.recall(users, planted(), AS_OF, k=2)
    hits = [f"food{pet}" in dict(found[f"new{pet}"]) for pet in range(6)]
    popular = popularity.build(planted(), AS_OF).recall(users, planted(), AS_OF, k=2)
    popular_hits = [f"food{pet}" in dict(popular[f"new{pet}"]) for pet in range(6)]
    assert sum(hits) == 6
    assert sum(popular_hits) <= 1  # two queries, one of them milk


def test_a_stranger_gets_what_is_popular(learned: tuple[ebr.Ebr, list[float]]) -> None:
    assert learned[0].recall(["nobody"], planted(), AS_OF, k=1)["nobody"][0][0] == "milk"


def test_same_inputs_same_bytes(learned: tuple[ebr.Ebr, list[float]]) -> None:
    files = learned[0].to_files()
    again, losses = ebr.train(planted().iloc[::-1], AS_OF, SMALL, SEED)
    assert again.to_files() == files
    assert losses == learned[1]
    other, _ = ebr.train(planted(), AS_OF, SMALL, SEED + 1)
    assert other.to_files()["ebr.safetensors"] != files["ebr.safetensors"]


def test_the_number_of_threads_changes_no_byte() -> None:
    """Enough contents that torch would share the work."""
    names = [("ann", 1 + n % 30, "search", f"need {n} of {n % 700}") for n in range(3000)]
    history = behaviours(*names)
    config, files, own = EbrConfig(epochs=1), [], torch.get_num_threads()
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        trained, _ = ebr.train(history, AS_OF, config, seed=3)
        files.append(trained.to_files())
    torch.set_num_threads(own)
    assert files[0] == files[1] == files[2]


def test_recall_is_the_exact_top_of_the_dot_products(
    learned: tuple[ebr.Ebr, list[float]],
) -> None:
    model, history = learned[0], behaviours(("u", 3.5, "item_click", "pet1"))
    p, word_rows = model.params, model.vocabulary.word_rows
    # By hand: one event, aged 4 days when seen on the day of as_of (midnight to midnight).
    pet = p["content"][1 + model.vocabulary.contents.index("pet1")]
    pet = pet + p["token"][1 + model.vocabulary.tokens.index("pet1")]
    gate = p["gate"][1 + ebr.KINDS.index("item_click") * len(ebr.BUCKETS) + ebr.BUCKETS.index(4)]
    bag = pet * gate
    hidden = torch.relu(bag @ p["hidden.weight"] + p["hidden.bias"])
    user = bag + hidden @ p["out.weight"] + p["out.bias"]
    vectors = ebr.text_vectors(p, "query", word_rows(model.vocabulary.queries))
    scores = dict(
        zip(model.vocabulary.queries, (vectors @ user + p["bias"])[1:].tolist(), strict=True)
    )
    expected = sorted(scores, key=lambda query: -scores[query])[:4]
    found = model.recall(["u"], history, AS_OF, k=4)["u"]
    assert [query for query, _ in found] == expected
    assert [score for _, score in found] == pytest.approx([scores[q] for q in expected], rel=1e-4)


def test_padding_adds_nothing(learned: tuple[ebr.Ebr, list[float]]) -> None:
    """u has one event and pads the batch of u0, who has many."""
    model = learned[0]
    history = pd.concat([planted(), behaviours(("u", 3.5, "item_click", "pet1"))])
    alone = model.recall(["u"], history, AS_OF, k=3)["u"]
    beside = model.recall(["u0", "u", "nobody"], history, AS_OF, k=3)["u"]
    assert [query for query, _ in beside] == [query for query, _ in alone]
    assert not model.params["gate"][0].any()


def test_a_click_counts_once_as_of_has_passed_it(learned: tuple[ebr.Ebr, list[float]]) -> None:
    model = learned[0]
    both = pd.concat([planted(), behaviours(("new0", -0.5, "item_click", "pet3"))])
    seen = model.recall(["new0"], both, AS_OF, 3)
    later = model.recall(["new0"], both, AS_OF + pd.Timedelta(days=0.6), 3)
    assert later["new0"] != seen["new0"]


def test_the_state_of_a_training_pair_ends_before_its_day() -> None:
    history = behaviours(
        ("u", 9.5, "item_click", "a"),
        ("u", 9.4, "search", "a"),  # its own day is no history: an empty state
        ("u", 4.5, "item_click", "b"),
        ("u", 2.5, "search", "b"),
    )
    past = history.sort_values(["user_id", "time"], ignore_index=True)
    vocabulary = ebr.Vocabulary(("a", "b"), ("a", "b"), ())
    states, state, target = ebr._pairs(past, past["time"].min(), vocabulary, max_events=2)
    assert state.tolist() == [0, 1]
    assert target.tolist() == [1, 2]
    content, gate = states.bag(np.array([0, 1]))
    # The latest two events before the day of the second search, latest first: b (2 days before),
    # then the search of a (7 days before).
    assert content.tolist() == [[0, 0], [2, 1]]
    click_2 = 1 + ebr.KINDS.index("item_click") * len(ebr.BUCKETS) + ebr.BUCKETS.index(2)
    search_7 = 1 + ebr.KINDS.index("search") * len(ebr.BUCKETS) + ebr.BUCKETS.index(7)
    assert gate.tolist() == [[0, 0], [click_2, search_7]]


def test_logq_corrected_loss_by_hand() -> None:
    user, query = torch.tensor([[1.0], [2.0]]), torch.tensor([[1.0], [0.5]])
    bias, log_q = torch.tensor([0.0, 1.0]), torch.log(torch.tensor([0.5, 0.25]))
    loss = ebr.sampled_softmax_loss(user, query, bias, torch.tensor([7, 8]), log_q)
    # Logits: user·query + bias − log q, with −log 0.5 = ln 2 and −log 0.25 = 2 ln 2.
    ln2 = math.log(2)
    first = [1 + 0 + ln2, 0.5 + 1 + 2 * ln2]
    second = [2 + 0 + ln2, 1 + 1 + 2 * ln2]
    expected = -0.5 * (
        first[0]
        - math.log(math.exp(first[0]) + math.exp(first[1]))
        + second[1]
        - math.log(math.exp(second[0]) + math.exp(second[1]))
    )
    assert loss.item() == pytest.approx(expected, rel=1e-6)


def test_pairs_with_the_same_query_are_no_negatives() -> None:
    vectors, zero = torch.randn(2, 4, generator=torch.Generator().manual_seed(0)), torch.zeros(2)
    same = ebr.sampled_softmax_loss(vectors, vectors, zero, torch.tensor([3, 3]), zero)
    assert same.item() == 0.0  # each has only itself to choose from


def test_continued_training_keeps_what_is_known_and_adds_what_is_new(
    learned: tuple[ebr.Ebr, list[float]],
) -> None:
    model = learned[0]
    tomorrow = AS_OF + pd.Timedelta(days=1)
    more = pd.concat([planted(), behaviours(("u1", -0.5, "search", "guinea pig"))])
    still = SMALL.model_copy(update={"update_learning_rate": 0.0})
    kept, _ = ebr.train(more, tomorrow, still, SEED, model)
    assert set(kept.vocabulary.queries) == {*model.vocabulary.queries, "guinea pig"}
    for query in model.vocabulary.queries:
        old = model.params["query"][1 + model.vocabulary.queries.index(query)]
        assert torch.equal(kept.params["query"][1 + kept.vocabulary.queries.index(query)], old)
    assert torch.equal(kept.params["gate"], model.params["gate"])
    # With a learning rate it moves, a little, and still knows the pattern.
    moved, losses = ebr.train(more, tomorrow, SMALL, SEED, model)
    assert len(losses) == SMALL.update_epochs
    assert not torch.equal(moved.params["hidden.weight"], model.params["hidden.weight"])
    assert "food3" in dict(moved.recall(["new3"], more, tomorrow, k=2)["new3"])
    assert ebr.train(more, tomorrow, SMALL, SEED, model)[0].to_files() == moved.to_files()


def test_errors_say_what_to_do(learned: tuple[ebr.Ebr, list[float]]) -> None:
    only_clicks = behaviours(("u", 1, "item_click", "a"), ("u", 1, "hint_click", "b"))
    with pytest.raises(AigqError, match="no search"):
        ebr.train(only_clicks, AS_OF, SMALL, SEED)
    with pytest.raises(AigqError, match="other sizes"):
        ebr.train(planted(), AS_OF, SMALL.model_copy(update={"dim": 4}), SEED, learned[0])


def test_the_defaults_stay_below_a_million_parameters() -> None:
    c = EbrConfig()
    full = ebr.Vocabulary(
        tuple(f"c{i}" for i in range(c.max_contents)),
        tuple(f"c{i}" for i in range(c.max_queries)),
        tuple(f"t{i}" for i in range(c.max_tokens)),
    )
    past = behaviours(*[("u", 1, "search", query) for query in full.queries])
    params = ebr._initial(full, past, c, SEED, None)
    assert sum(value.numel() for value in params.values()) <= 1_000_000


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from("xyz"),
            st.floats(0.01, 40),
            st.sampled_from(ebr.KINDS),
            st.sampled_from(["a", "b c", "d"]),
        ),
        max_size=25,
    ),
    st.integers(1, 5),
)
def test_states_hold_the_latest_events_of_their_user(
    rows: list[tuple[str, float, str, str]], max_events: int
) -> None:
    past = behaviours(*rows).sort_values(["user_id", "time"], ignore_index=True)
    vocabulary = ebr.Vocabulary(("a", "b c", "d"), (), ())
    users = pd.Index(["x", "y", "z", "nobody"])
    day = np.full(4, (AS_OF - pd.Timestamp("1970-01-01")).days)
    states = ebr._states(past, users, day, day, vocabulary, max_events)
    content, gate = states.bag(np.arange(4))
    for i, user in enumerate(users):
        texts = past.loc[past["user_id"] == user, "content"].tolist()[::-1][:max_events]
        filled = gate[i] > 0
        assert [vocabulary.contents[c - 1] for c in content[i][filled]] == texts
