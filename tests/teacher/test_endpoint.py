"""The client against a real server process and a real S3."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import servers
from pydantic import BaseModel, ConfigDict

from aigq_tasks.errors import AigqError
from aigq_tasks.storage.objects import ObjectStore
from aigq_tasks.teacher.config import EndpointConfig
from aigq_tasks.teacher.endpoint import Endpoint, Question

pytestmark = pytest.mark.integration


class Queries(BaseModel):
    model_config = ConfigDict(extra="forbid")
    queries: list[str]


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    with servers.chat_server(tmp_path) as found:
        yield found


def endpoint(url: str, store: ObjectStore, model: str, **options: Any) -> Endpoint:
    options = {"concurrency": 2, "timeout": 5.0, "retries": 2} | options
    return Endpoint(EndpointConfig(url=f"{url}/v1", model=model, **options), store)


def questions(*texts: str) -> list[Question]:
    return [Question("candidates", "Answer in JSON.", text) for text in texts]


def test_each_question_is_asked_once_ever(url: str, store: ObjectStore) -> None:
    asked = questions("milk tea", "beer", "milk tea")
    first = endpoint(url, store, "good").ask(asked, Queries)
    lists = [answer.queries for answer in first.answers]
    assert lists == [["milk", "tea"], ["beer"], ["milk", "tea"]]
    # Three words were asked for, each at 10 prompt tokens and 1 answer token.
    assert (first.prompt_tokens, first.answer_tokens, first.asked) == (30, 3, 2)
    config = EndpointConfig(price_in=2.0, price_out=50.0)
    assert first.cost(config) == pytest.approx((30 * 2 + 3 * 50) / 1e6)
    again = endpoint(url, store, "good").ask(asked, Queries)
    assert again.answers == first.answers
    assert (again.prompt_tokens, again.answer_tokens, again.asked) == (30, 3, 0)
    assert requests.get(f"{url}/asked", timeout=5).json() == {"good milk tea": 1, "good beer": 1}


@pytest.mark.parametrize("model", ["stutters", "busy"])
def test_a_server_that_does_better_the_second_time(
    url: str, store: ObjectStore, model: str
) -> None:
    answered = endpoint(url, store, model).ask(questions("milk tea"), Queries)
    assert answered.answers == [Queries(queries=["milk", "tea"])]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("babbles", "3 answers that are not what was asked for"),
        ("slow", "timed out"),
        ("refuses", "no such model"),
    ],
)
def test_a_server_that_does_not(url: str, store: ObjectStore, model: str, message: str) -> None:
    began = time.monotonic()
    patient = endpoint(url, store, model, timeout=0.3, retries=1)
    with pytest.raises(AigqError, match=rf"failed at 'candidates' after 0 of 1.*{message}") as one:
        patient.ask(questions("milk"), Queries)
    assert "\n" not in str(one.value)
    assert time.monotonic() - began < 10
    assert store.list("llm/") == []


def test_what_was_answered_before_the_server_died_is_not_asked_again(
    tmp_path: Path, store: ObjectStore
) -> None:
    asked = questions(*(f"milk {n}" for n in range(12)))
    message = r"after \d of 12 answers .*those are kept"
    with (
        servers.chat_server(tmp_path / "first", dies_after=5) as url,
        pytest.raises(AigqError, match=message),
    ):
        endpoint(url, store, "good").ask(asked, Queries)
    kept = len(store.list("llm/"))
    assert 1 <= kept <= 5
    # Where a server stands is no part of a question: another one may go on.
    with servers.chat_server(tmp_path / "second") as url:
        resumed = endpoint(url, store, "good").ask(asked, Queries)
    assert resumed.asked == 12 - kept
    assert [answer.queries for answer in resumed.answers] == [["milk", str(n)] for n in range(12)]
    assert (resumed.prompt_tokens, resumed.answer_tokens) == (12 * 20, 12 * 2)
