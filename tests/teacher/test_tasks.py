from aigq_tasks.context.interests import Interest
from aigq_tasks.context.prompt import HistoryLine, Shopper
from aigq_tasks.teacher.tasks import (
    Candidates,
    Explained,
    Explanation,
    Judged,
    candidates_question,
    explain_question,
    judge_question,
    read_candidates,
    read_explained,
    read_judged,
)

SHOPPER = Shopper(
    "h1",
    "65+ 2 adults",
    (
        HistoryLine("whole milk", "search", 7, 3, 7.0),
        HistoryLine("rye bread", "item_click", 0, 1, 0.0),
    ),
)
QUERIES = ["milk", "oat milk", "butter"]


def test_questions_number_what_they_ask_about() -> None:
    question = explain_question(SHOPPER, QUERIES, most=4)
    assert question.user.splitlines() == [
        "Shopper: 65+ 2 adults",
        "History:",
        "1. 7 days ago, search, 3 times: whole milk",
        "2. 0 days ago, item_click, 1 times: rye bread",
        "Queries:",
        "1. milk",
        "2. oat milk",
        "3. butter",
    ]
    assert "at most 4 interests" in question.system
    assert judge_question(SHOPPER, QUERIES).user == question.user
    stranger = candidates_question(Shopper("h2", "", ()), 5)
    assert stranger.user == "Shopper: unknown\nHistory:\nnone"
    assert "Give 5 short queries" in stranger.system


def test_candidates_are_queries_that_may_be_shown() -> None:
    answer = Candidates(queries=["Oat-Milk!", "oat milk", "", "x" * 99, "heroin", "butter", "tea"])
    assert read_candidates(answer, 2) == ["oat milk", "butter"]


def test_a_judge_may_only_leave_out() -> None:
    assert read_judged(Judged(keep=[3, 1, 9, 0]), QUERIES) == ["milk", "butter"]


def test_interests_keep_what_is_in_range_and_each_query_once() -> None:
    answer = Explained(
        interests=[
            Explanation(why="Bakes often.", history=[2], queries=[3]),
            Explanation(why="Milk is due", history=[1, 1, 7], queries=[2, 1, 3, 8]),
            Explanation(why="nothing left", history=[1], queries=[3]),
            Explanation(why="no line", history=[0], queries=[2]),
            Explanation(why="?", history=[1], queries=[1]),
        ]
    )
    # Interest 2 has the best query, so it comes first; butter stays with the one that said so.
    assert read_explained(answer, SHOPPER, QUERIES, most=5) == [
        Interest("milk is due", (1,), ("milk", "oat milk")),
        Interest("bakes often", (2,), ("butter",)),
    ]
    assert len(read_explained(answer, SHOPPER, QUERIES, most=1)) == 1
