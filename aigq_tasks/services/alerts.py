"""Telling people that a day needs them: by webhook, by mail, or, with neither set, in the log.

An alert names the Dag, the day, the task, what was said last and what to do. Airflow calls
`aigq alert` for each (`dags/_alerts.py`); anything else that runs the stages can do the same.
"""

import json
import smtplib
import ssl
from dataclasses import asdict, dataclass
from email.message import EmailMessage

import requests

from aigq_tasks.errors import AigqError
from aigq_tasks.messages import say
from aigq_tasks.settings import AlertSettings

SECONDS = 10.0  # a channel that takes longer counts as failed
LONGEST = 1000  # characters of what a stage said


@dataclass(frozen=True)
class Alert:
    """What people are told. what: "failed", "is late", "waits". day, task: may be empty.

    error: the last line of the task, a sentence or a JSON line of `messages`. url: where to act.
    """

    dag: str
    what: str
    remedy: str
    day: str = ""
    task: str = ""
    error: str = ""
    url: str = ""

    @property
    def subject(self) -> str:
        """One line, whatever the fields hold."""
        return " ".join(f"{self.dag} {self.day} {self.task} {self.what}".split())

    @property
    def text(self) -> str:
        """All of it, as people read it."""
        error = sentence(self.error)[:LONGEST]
        lines = [self.subject, error, f"Remedy: {self.remedy}", self.url]
        return "\n".join(line for line in lines if line)

    def to_dict(self) -> dict[str, str]:
        """The body of a webhook; chat programs show `text`."""
        return {**asdict(self), "error": sentence(self.error)[:LONGEST], "text": self.text}


def sentence(line: str) -> str:
    """What a line of a stage's log says: `event` of a JSON line, any other line as it is."""
    try:
        said = json.loads(line)
    except ValueError:
        return line
    return str(said["event"]) if isinstance(said, dict) and "event" in said else line


def send(alert: Alert, settings: AlertSettings) -> list[str]:
    """Send the alert by every channel that is set, and return their names.

    It is said in the log in any case. AigqError names the channels that failed, after all of them
    were tried.
    """
    say(alert.text)
    channels = {}
    if settings.webhook.get_secret_value():
        channels["webhook"] = _post
    if settings.smtp_host and settings.mail_to:
        channels["mail"] = _mail
    failed = []
    for name, channel in channels.items():
        try:
            channel(alert, settings)
        except (requests.RequestException, OSError) as error:
            # Not its text: that of a webhook holds the URL, which may hold a key.
            failed.append(f"{name} ({type(error).__name__})")
    if failed:
        raise AigqError(
            f"the alert did not go out by {', '.join(failed)}: see the settings of 'alerts'"
        )
    return list(channels)


def _post(alert: Alert, settings: AlertSettings) -> None:
    token = settings.webhook_token.get_secret_value()
    requests.post(
        settings.webhook.get_secret_value(),
        json=alert.to_dict(),
        headers={"Authorization": f"Bearer {token}"} if token else {},
        timeout=SECONDS,
    ).raise_for_status()


def _mail(alert: Alert, settings: AlertSettings) -> None:
    message = EmailMessage()
    message["Subject"] = alert.subject
    message["From"] = settings.mail_from
    message["To"] = ", ".join(settings.mail_to)
    message.set_content(alert.text)
    with smtplib.SMTP(settings.smtp_host, settings.smtp_port, timeout=SECONDS) as server:
        if settings.smtp_tls:
            server.starttls(context=ssl.create_default_context())
        if settings.smtp_user:
            server.login(settings.smtp_user, settings.smtp_password.get_secret_value())
        server.send_message(message)
