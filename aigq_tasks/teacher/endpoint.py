"""Asking an OpenAI-compatible server many questions at once, each of them only once ever.

An answer is stored under the digest of all that determines it: model, task, messages, schema,
temperature 0 and seed. So a second run asks nothing, and a run that failed midway goes on where
it stopped, whichever worker picks it up.
"""

import asyncio
import json
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from pydantic import BaseModel, ValidationError
from rich.progress import Progress

from aigq_tasks.errors import AigqError
from aigq_tasks.storage.canonical import to_json
from aigq_tasks.storage.objects import sha256
from aigq_tasks.teacher.config import EndpointConfig

MALFORMED_TRIES = 3  # times that a question is asked whose answers do not fit the schema
FOLDER = "llm/"

Answer = TypeVar("Answer", bound=BaseModel)


@dataclass(frozen=True)
class Question:
    """task: a word for logs and metrics. system, user: the two messages."""

    task: str
    system: str
    user: str


@dataclass(frozen=True)
class Answered(Generic[Answer]):
    """answers: one per question, in order. prompt_tokens, answer_tokens: what all of them took,
    stored ones included, so the same questions give the same numbers. asked: how many were not
    stored before."""

    answers: list[Answer]
    prompt_tokens: int
    answer_tokens: int
    asked: int

    def cost(self, config: EndpointConfig) -> float:
        """In the currency units of the configured prices."""
        spent = self.prompt_tokens * config.price_in + self.answer_tokens * config.price_out
        return spent / 1e6


class _MalformedError(Exception):
    """The server's answer does not fit the schema."""


class AnswerStore(Protocol):
    """Where answers are kept for good: an `ObjectStore` is one. Used by several threads at once."""

    def get(self, key: str) -> bytes | None:
        """What is stored under the key; None for nothing."""
        ...

    def put_once(self, key: str, data: bytes) -> bool:
        """Store unless something is there; False: another's bytes hold."""
        ...


@dataclass(frozen=True)
class Endpoint:
    """A server and the store that keeps its answers: what a stage is handed to ask with."""

    config: EndpointConfig
    store: AnswerStore

    def ask(self, questions: Sequence[Question], kind: type[Answer]) -> Answered[Answer]:
        """Answers that fit the pydantic model `kind`, whose JSON schema the server is given.

        AigqError with one line if the server cannot be reached, refuses, or keeps giving answers
        that do not fit; the answers had by then stay stored.
        """
        keys = [self._key(question, kind) for question in questions]
        distinct = list(dict.fromkeys(keys))
        with ThreadPoolExecutor(8) as pool:
            stored = dict(zip(distinct, pool.map(self.store.get, distinct), strict=True))
        todo = {
            key: question
            for key, question in zip(keys, questions, strict=True)
            if stored[key] is None
        }
        if todo:
            stored |= asyncio.run(self._ask_all(todo, kind))
        records = {key: json.loads(data) for key, data in stored.items() if data is not None}
        return Answered(
            [kind.model_validate_json(records[key]["content"]) for key in keys],
            sum(record["prompt_tokens"] for record in records.values()),
            sum(record["answer_tokens"] for record in records.values()),
            len(todo),
        )

    def _key(self, question: Question, kind: type[BaseModel]) -> str:
        described = {
            "model": self.config.model,
            "task": question.task,
            "system": question.system,
            "user": question.user,
            "schema": kind.model_json_schema(),
            "seed": self.config.seed,
            "max_tokens": self.config.max_tokens,
        }
        return f"{FOLDER}{question.task}/{sha256(to_json(described))}.json"

    async def _ask_all(
        self, questions: dict[str, Question], kind: type[BaseModel]
    ) -> dict[str, bytes]:
        import openai

        done: dict[str, bytes] = {}
        gate = asyncio.Semaphore(self.config.concurrency)
        client = openai.AsyncOpenAI(
            base_url=self.config.url,
            api_key=self.config.key.get_secret_value(),
            timeout=self.config.timeout,
            max_retries=self.config.retries,
        )

        async def one(key: str, question: Question) -> None:
            async with gate:
                data = await self._ask_one(client, question, kind)
                done[key] = await asyncio.to_thread(self._keep, key, data)
                progress.advance(bar)

        task = next(iter(questions.values())).task
        with Progress() as progress:
            bar = progress.add_task(f"asking {self.config.model}: {task}", total=len(questions))
            try:
                await _all_or_first_error([one(*item) for item in questions.items()])
            except (openai.OpenAIError, _MalformedError) as error:
                raise AigqError(
                    f"the LLM at {self.config.url} failed at '{task}' after {len(done)} of "
                    f"{len(questions)} answers ({_words(error)}); those are kept: mend it and run "
                    "the same command again"
                ) from error
            finally:
                await client.close()
        return done

    def _keep(self, key: str, data: bytes) -> bytes:
        """Store the answer; of two workers with the same question the first one's holds."""
        if self.store.put_once(key, data):
            return data
        return self.store.get(key) or data

    async def _ask_one(self, client: Any, question: Question, kind: type[BaseModel]) -> bytes:
        for _ in range(MALFORMED_TRIES):
            completion = await client.chat.completions.create(
                model=self.config.model,
                messages=[
                    {"role": "system", "content": question.system},
                    {"role": "user", "content": question.user},
                ],
                temperature=0,
                seed=self.config.seed,
                max_tokens=self.config.max_tokens,
                response_format={
                    "type": "json_schema",
                    "json_schema": {
                        "name": question.task,
                        "schema": kind.model_json_schema(),
                        "strict": True,
                    },
                },
            )
            content = completion.choices[0].message.content if completion.choices else ""
            try:
                kind.model_validate_json(content or "")
            except ValidationError:
                continue
            usage = completion.usage
            return to_json(
                {
                    "content": content,
                    "prompt_tokens": usage.prompt_tokens if usage else 0,
                    "answer_tokens": usage.completion_tokens if usage else 0,
                }
            )
        raise _MalformedError(f"{MALFORMED_TRIES} answers that are not what was asked for")


async def _all_or_first_error(work: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Run all; at the first error cancel what is under way and raise it."""
    try:
        async with asyncio.TaskGroup() as group:
            for coroutine in work:
                group.create_task(coroutine)
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None


def _words(error: Exception) -> str:
    """One line about an error of the client."""
    text = str(error).splitlines()[0] if str(error) else ""
    return f"{type(error).__name__.removeprefix('_')}: {text}"[:200]
