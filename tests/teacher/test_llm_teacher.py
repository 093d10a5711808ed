"""The teacher that asks: its questions against a real server process and a real S3."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import servers

from aigq_tasks.context.interests import Interest
from aigq_tasks.context.prompt import HistoryLine, Shopper
from aigq_tasks.storage.objects import ObjectStore
from aigq_tasks.teacher.config import EndpointConfig
from aigq_tasks.teacher.endpoint import Endpoint
from aigq_tasks.teacher.teachers import LlmTeacher

pytestmark = pytest.mark.integration

SHOPPERS = [
    Shopper("h1", "65+", (HistoryLine("milk", "search", 7, 3, 7.0),)),
    Shopper("h2", "", (HistoryLine("tea", "search", 1, 1, 0.0),)),
]


@pytest.fixture
def teacher(tmp_path: Path, store: ObjectStore) -> Iterator[LlmTeacher]:
    with servers.chat_server(tmp_path) as url:
        yield LlmTeacher(Endpoint(EndpointConfig(url=f"{url}/v1", model="good"), store))


def test_all_three_questions(teacher: LlmTeacher) -> None:
    assert teacher.label == "good"
    candidates = teacher.candidates(SHOPPERS, 4)
    # The server proposes the words of the question: normalised, each once, four at most.
    assert candidates[0] == ["shopper", "65", "history", "days"]
    assert candidates[1] == ["shopper", "unknown", "history", "days"]
    assert teacher.judge(SHOPPERS, [["honey", "beer"], ["mint"]]) == [["honey"], ["mint"]]
    explained = teacher.explain(SHOPPERS, [["honey", "beer"], ["mint"]], 3)
    assert explained == [
        [Interest("line one", (1,), ("honey",))],
        [Interest("line one", (1,), ("mint",))],
    ]
    assert {name.split("/")[1] for name in teacher.usage} == {"candidates", "judge", "explain"}
    assert all(teacher.usage[f"llm/{task}/prompt_tokens"] > 0 for task in ("judge", "explain"))


def test_nobody_to_ask_about(teacher: LlmTeacher) -> None:
    assert teacher.explain([], [], 3) == []
