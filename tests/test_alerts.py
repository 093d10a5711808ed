"""Alerts by real HTTP and real SMTP, on loopback."""

import email
import json
import threading
import time
import warnings
from collections.abc import Iterator
from email.message import Message
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from pydantic import SecretStr
from servers import free_ports

from aigq_tasks.errors import AigqError
from aigq_tasks.services.alerts import Alert, send, sentence
from aigq_tasks.settings import AlertSettings

with warnings.catch_warnings():  # leaves the standard library with Python 3.12
    warnings.simplefilter("ignore", DeprecationWarning)
    import asyncore
    import smtpd

FAILED = Alert(
    dag="hintq_daily",
    what="failed",
    remedy="mend the cause, then clear the task",
    day="2017-11-07",
    task="gate",
    error='{"event": "S3 is down; run `aigq up`", "level": "error"}',
    url="http://airflow/gate",
)
TEXT = """hintq_daily 2017-11-07 gate failed
S3 is down; run `aigq up`
Remedy: mend the cause, then clear the task
http://airflow/gate"""


@pytest.fixture
def hook() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """URL of a webhook and what it got; under /broken it answers 500."""
    got: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.append({"token": self.headers["Authorization"], **json.loads(body)})
            self.send_response(500 if self.path.startswith("/broken") else 204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", got
        server.shutdown()
        thread.join()


@pytest.fixture
def mailbox() -> Iterator[tuple[int, list[Message]]]:
    """Port of a mail server without TLS, and what it got."""
    got: list[Message] = []

    class Server(smtpd.SMTPServer):
        def process_message(self, *envelope: Any, **_: Any) -> None:
            got.append(email.message_from_bytes(envelope[3]))

    sockets: dict[int, Any] = {}
    server = Server(("127.0.0.1", 0), None, map=sockets)
    done = threading.Event()

    def serve() -> None:
        while not done.is_set():
            asyncore.loop(timeout=0.05, map=sockets, count=1)

    thread = threading.Thread(target=serve)
    thread.start()
    yield server.socket.getsockname()[1], got
    done.set()
    thread.join()
    asyncore.close_all(sockets)


def test_by_webhook_and_by_mail(
    hook: tuple[str, list[dict[str, Any]]], mailbox: tuple[int, list[Message]]
) -> None:
    (url, posted), (port, mails) = hook, mailbox
    settings = AlertSettings(
        webhook=SecretStr(url),
        webhook_token=SecretStr("s3cret"),
        smtp_host="127.0.0.1",
        smtp_port=port,
        smtp_tls=False,
        mail_to=("ada@example.org", "ben@example.org"),
    )
    assert send(FAILED, settings) == ["webhook", "mail"]
    (post,) = posted
    assert post.pop("token") == "Bearer s3cret"
    assert post == {
        "dag": "hintq_daily",
        "what": "failed",
        "day": "2017-11-07",
        "task": "gate",
        "error": "S3 is down; run `aigq up`",
        "remedy": "mend the cause, then clear the task",
        "url": "http://airflow/gate",
        "text": TEXT,
    }
    (mail,) = mails
    assert mail["Subject"] == "hintq_daily 2017-11-07 gate failed"
    assert mail["To"] == "ada@example.org, ben@example.org"
    assert mail.get_payload().splitlines() == TEXT.splitlines()


def test_nothing_configured_is_a_line_in_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    assert send(FAILED, AlertSettings()) == []
    assert capsys.readouterr().out == f"{TEXT}\n"


def test_one_channel_that_fails_does_not_silence_the_other(
    hook: tuple[str, list[dict[str, Any]]], mailbox: tuple[int, list[Message]]
) -> None:
    (url, _), (port, mails) = hook, mailbox
    settings = AlertSettings(
        webhook=SecretStr(f"{url}/broken/key"),
        smtp_host="127.0.0.1",
        smtp_port=port,
        smtp_tls=False,
        mail_to=("ada@example.org",),
    )
    with pytest.raises(AigqError, match=r"by webhook \(HTTPError\)") as caught:
        send(FAILED, settings)
    assert "key" not in str(caught.value)  # who has the URL can post
    assert len(mails) == 1


def test_nothing_is_mailed_in_the_clear_unless_told_to(mailbox: tuple[int, list[Message]]) -> None:
    port, mails = mailbox
    settings = AlertSettings(smtp_host="127.0.0.1", smtp_port=port, mail_to=("ada@example.org",))
    with pytest.raises(AigqError, match=r"by mail \(SMTPNotSupportedError\)"):
        send(FAILED, settings)
    assert mails == []


def test_a_dead_channel_is_given_up_soon() -> None:
    settings = AlertSettings(webhook=SecretStr(f"http://127.0.0.1:{free_ports(1)[0]}"))
    began = time.monotonic()
    with pytest.raises(AigqError, match=r"by webhook \(ConnectionError\)"):
        send(FAILED, settings)
    assert time.monotonic() - began < 10


def test_a_sentence_of_any_line() -> None:
    assert sentence('{"event": "x is missing", "level": "error"}') == "x is missing"
    for line in ("ValueError: no", '{"event"', '["event"]', '{"level": "error"}', "7", ""):
        assert sentence(line) == line


def test_a_subject_is_one_line() -> None:
    assert Alert(dag="d\r\nBcc: x", what="is\nlate", remedy="").subject == "d Bcc: x is late"
