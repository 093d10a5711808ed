import json
from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest
import structlog

from aigq_tasks.errors import AigqError, OutsideTheLog
from aigq_tasks.messages import VARIABLE, about, complain, markdown, say


@pytest.fixture(autouse=True)
def _nothing_told_before() -> Iterator[None]:
    structlog.contextvars.clear_contextvars()
    yield
    structlog.contextvars.clear_contextvars()


@pytest.fixture
def _for_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "json")


def _lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_person_reads_sentences(capsys: pytest.CaptureFixture[str]) -> None:
    about("ctr", date(2017, 11, 6), 3)
    say("ctr 2017-11-06: done in 1.5 s", manifest="3fa2")
    complain(AigqError("S3 is down; run `aigq up`"))
    said = capsys.readouterr()
    assert said.out == "ctr 2017-11-06: done in 1.5 s\n"
    assert said.err == "aigq: S3 is down; run `aigq up`\n"


@pytest.mark.usefixtures("_for_machines")
def test_a_machine_gets_day_release_and_stage(capsys: pytest.CaptureFixture[str]) -> None:
    about("ctr", date(2017, 11, 6), 3)
    say("done", manifest="3fa2")
    about("gate", date(2017, 11, 7))
    complain(AigqError("ctr is missing"))
    complain(OutsideTheLog("no log of 2018-01-01"))
    said = capsys.readouterr()
    (done,) = _lines(said.out)
    assert next(iter(done)) == "event"  # what a person looks for stands first
    assert done.pop("time").endswith("Z")
    assert done == {
        "event": "done",
        "level": "info",
        "stage": "ctr",
        "day": "2017-11-06",
        "release": 3,
        "manifest": "3fa2",
    }
    fault, fact = _lines(said.err)
    assert (fault["event"], fault["level"]) == ("ctr is missing", "error")
    assert (fault["stage"], fault["day"], fault["release"]) == ("gate", "2017-11-07", None)
    assert fact["level"] == "info"  # a day without work is no fault


@pytest.mark.usefixtures("_for_machines")
def test_logged_text_stays_data(capsys: pytest.CaptureFixture[str]) -> None:
    complain(AigqError('query "\x1b[2J\n{"level": "fake"}" is refused'))
    (line,) = capsys.readouterr().err.splitlines()
    assert "\x1b" not in line
    assert json.loads(line)["event"] == 'query "\x1b[2J\n{"level": "fake"}" is refused'


def test_rows_as_markdown() -> None:
    rows = [{"day": "2017-11-06", "release": "4"}, {"day": "2017-11-07", "release": "5"}]
    assert markdown(rows) == (
        "| day | release |\n| --- | --- |\n| 2017-11-06 | 4 |\n| 2017-11-07 | 5 |\n"
    )
    assert markdown([]) == ""
