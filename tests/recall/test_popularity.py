import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigq_tasks.recall import popularity

AS_OF = pd.Timestamp("2025-03-01")


def behaviours(*rows: tuple[float, str, str]) -> pd.DataFrame:
    """(age in days, kind, content) of one user."""
    return pd.DataFrame(
        [("u", AS_OF - pd.Timedelta(days=age), kind, text) for age, kind, text in rows],
        columns=["user_id", "time", "kind", "content"],
    ).astype({"time": "datetime64[us]", "kind": "str", "content": "str"})


def test_score_is_the_decayed_count_of_queries() -> None:
    history = behaviours(
        (0.5, "search", "milk"),  # age 0 -> 1
        (7.5, "search", "milk"),  # age 7, one half-life -> 1/2
        (14.2, "hint_click", "bread"),  # age 14 -> 1/4
        (14.9, "search", "apples"),  # age 14 -> 1/4: a tie, so apples goes before bread
        (0.5, "item_click", "eggs"),  # not a query
        (28.0, "search", "ham"),  # older than the window of 28 days
        (27.9, "search", "ham"),  # age 27 -> 2^(-27/7) = 0.069
        (-0.1, "search", "tea"),  # after as_of
    )
    model = popularity.build(history, AS_OF, days=28, half_life_days=7.0)
    assert model.queries == ("milk", "apples", "bread", "ham")
    assert model.scores == pytest.approx((1.5, 0.25, 0.25, 2 ** (-27 / 7)))


def test_every_user_gets_the_same_k_best() -> None:
    model = popularity.build(
        behaviours((1, "search", "a"), (1, "search", "a"), (1, "search", "b")), AS_OF
    )
    recalled = model.recall(["u", "nobody"], behaviours(), AS_OF, k=1)
    assert recalled == {"u": [("a", model.scores[0])], "nobody": [("a", model.scores[0])]}


def test_size_keeps_the_best() -> None:
    history = behaviours((9, "search", "old"), (1, "search", "new"))
    assert popularity.build(history, AS_OF, size=1).queries == ("new",)


events = st.tuples(
    st.floats(0.01, 60), st.sampled_from(["search", "item_click"]), st.sampled_from("abcd")
)


@given(st.lists(events, max_size=30), st.randoms())
def test_row_order_and_files_do_not_matter(rows: list[tuple[float, str, str]], random) -> None:
    model = popularity.build(behaviours(*rows), AS_OF)
    random.shuffle(rows)
    again = popularity.build(behaviours(*rows), AS_OF)
    assert again.to_files() == model.to_files()
    assert popularity.Popularity.from_files(model.to_files()) == model
