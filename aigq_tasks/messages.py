"""What a command says while it works: one line per fact on stdout, a fault on stderr.

A person reads sentences. With `AIGQ_LOG_FORMAT=json`, which every Airflow task sets, each line is
a JSON object: the sentence (`event`), `level`, `time`, what `about` told (stage, day, release) and
what the line adds. Text in it is data: JSON leaves no line break or control character as it is.
Where the fact is a table, for a report or for Airflow's form, it is written in Markdown.
"""

import os
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from datetime import date
from typing import Any, TextIO

import structlog

from aigq_tasks.errors import AigqError, NothingToDo

VARIABLE = "AIGQ_LOG_FORMAT"  # "json", or a person reads


def about(stage: str, day: date, release: int | None = None) -> None:
    """Whatever is said from now on is about this stage and day. release: the number of the
    release that the day starts from; None before the first, or while it is unknown."""
    structlog.contextvars.bind_contextvars(stage=stage, day=day.isoformat(), release=release)


def say(event: str, **fields: Any) -> None:
    """A fact, as a sentence, and JSON values that only machines are told."""
    _logger(sys.stdout).info(event, **fields)


def complain(error: AigqError) -> None:
    """What keeps the command from its work, in words that name the remedy."""
    logger = _logger(sys.stderr, prefix="aigq: ")
    if isinstance(error, NothingToDo):
        logger.info(str(error))
    else:
        logger.error(str(error))


def markdown(rows: Sequence[Mapping[str, str]]) -> str:
    """Rows with equal keys -> a Markdown table, the keys its head; "" without rows."""
    if not rows:
        return ""
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(list(row.values()) for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _logger(stream: TextIO, prefix: str = "") -> Any:
    """A logger for a stream as it is now; people see `prefix` before the sentence."""

    def sentence(_logger: Any, _name: str, fields: MutableMapping[str, Any]) -> str:
        return f"{prefix}{fields['event']}"

    processors: list[structlog.typing.Processor] = [sentence]
    if os.environ.get(VARIABLE) == "json":
        processors = [
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            _event_first,
            structlog.processors.JSONRenderer(),
        ]
    return structlog.wrap_logger(structlog.PrintLogger(stream), processors=processors)


def _event_first(
    _logger: Any, _name: str, fields: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """A person who reads the line in Airflow sees the sentence first."""
    return {"event": fields["event"], **fields}
