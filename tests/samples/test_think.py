from collections.abc import Mapping, Sequence

import pandas as pd

from aigq_tasks.context.interests import Interest, ThinkLimits
from aigq_tasks.context.prompt import HistoryLine, Shopper
from aigq_tasks.samples.labels import CLICKED, GENERATED, RANKED, SEARCHED
from aigq_tasks.samples.think import judged_labels, think_samples

LINES = (HistoryLine("milk", "search", 7, 3, 7.0), HistoryLine("rye", "item_click", 0, 1, 0.0))
SHOPPERS = [Shopper("h1", "65+", LINES), Shopper("h2", "", ())]


class Teacher:
    """Keeps guesses that begin with "m"; one interest for all queries, if there is a history."""

    label = "test"
    usage: Mapping[str, float] = {}

    def candidates(self, shoppers: Sequence[Shopper], count: int) -> list[list[str]]:
        raise AssertionError("candidates come before the judge")

    def judge(
        self, shoppers: Sequence[Shopper], queries: Sequence[Sequence[str]]
    ) -> list[list[str]]:
        assert [list(own) for own in queries] == [["mint", "tea", "mango"], ["tea"]]
        return [[query for query in own if query.startswith("m")] for own in queries]

    def explain(
        self, shoppers: Sequence[Shopper], queries: Sequence[Sequence[str]], most: int
    ) -> list[list[Interest]]:
        return [
            [Interest("often", (2, 1), tuple(own[:2])), Interest("lately", (1,), tuple(own[2:]))]
            if shopper.lines
            else []
            for shopper, own in zip(shoppers, queries, strict=True)
        ]


def tiers(*rows: tuple[str, int]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["query", "tier"])


def test_the_judge_sees_guesses_only() -> None:
    first = tiers(
        ("honey", CLICKED), ("beer", SEARCHED), ("mint", RANKED), ("tea", RANKED),
        ("mango", GENERATED),
    )  # fmt: skip
    second = tiers(("eggs", SEARCHED), ("tea", RANKED))
    labels = judged_labels(SHOPPERS, [first, second], Teacher())
    # Clicks and searches stay though the judge would drop them; of the guesses "tea" goes.
    assert labels == [["honey", "beer", "mint", "mango"], ["eggs"]]


def test_a_sample_is_a_reasoned_day() -> None:
    sessions = pd.DataFrame(
        {
            "session_id": ["h1|2017-11-06", "h2|2017-11-06"],
            "user_id": ["h1", "h2"],
            "time": pd.to_datetime(["2017-11-06T10:00", "2017-11-06T11:00"]),
        }
    )
    labels = [["honey", "beer", "mint"], ["eggs"]]
    table = think_samples(sessions, SHOPPERS, labels, Teacher(), ThinkLimits())
    assert table["sample_id"].tolist() == ["h1|2017-11-06"]  # nothing to reason from for h2
    [sample] = table.to_dict("records")
    assert sample["prompt"] == (
        "<profile>65+<history><b_1><7_day_ago><search><3_time><every_7_day>milk"
        "<b_2><0_day_ago><item_click>rye<think>"
    )
    assert sample["target"] == (
        "<why>often<why>lately<interest><b_2><b_1><queries>honey<sep>beer"
        "<interest><b_1><queries>mint"
    )
    assert sample["labels"] == ["honey", "beer", "mint"]
    assert sample["triggers"] == [[2, 1], [1]]
    tight = ThinkLimits(interests=1, triggers=1, queries=1)
    [cut] = think_samples(sessions, SHOPPERS, labels, Teacher(), tight)["target"]
    assert cut == "<why>often<interest><b_2><queries>honey"
    empty = think_samples(sessions.iloc[1:], SHOPPERS[1:], labels[1:], Teacher(), ThinkLimits())
    assert list(empty.columns) == list(table.columns)
    assert len(empty) == 0
