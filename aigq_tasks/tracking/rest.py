"""MLflow by plain REST: loading its client takes 1.6 s of CPU time, a request milliseconds."""

from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.util.retry import Retry

from aigq_tasks.errors import AigqError

SECONDS = 10.0
BUSY = (429, 500, 502, 503, 504)  # its database is locked, or it starts
Json = dict[str, Any]


def call(url: str, method: str, path: str, **arguments: Any) -> Json | None:
    """What MLflow at `url` answers to `/api/2.0/mlflow/<path>`; None when it knows no such thing.
    AigqError when it does not answer, or refuses."""
    answer = _answer(url, method, f"mlflow/{path}", **arguments)
    if answer.status_code == 404:
        return None
    if not answer.ok:
        raise AigqError(f"MLflow at {url} fails: {_reason(answer)}")
    body: Json = answer.json()
    return body


def tell(url: str, path: str, body: Json) -> Json:
    """POST `body`: what MLflow answers. AigqError also when it knows no such thing."""
    answer = call(url, "POST", path, json=body)
    if answer is None:
        raise AigqError(f"MLflow at {url} fails: it does not know what {path} is asked for")
    return answer


def create(url: str, path: str, body: Json) -> Json | None:
    """POST `body`, which makes something: MLflow's answer, None when it is there already."""
    answer = _answer(url, "POST", f"mlflow/{path}", json=body)
    if answer.ok:
        made: Json = answer.json()
        return made
    if _error(answer).get("error_code") == "RESOURCE_ALREADY_EXISTS":
        return None
    raise AigqError(f"MLflow at {url} fails: {_reason(answer)}")


def upload(url: str, path: str, data: bytes) -> None:
    """Store a file below the address that the server gives a run for its artifacts."""
    answer = _answer(url, "PUT", f"mlflow-artifacts/artifacts/{path}", data=data)
    if not answer.ok:
        raise AigqError(f"MLflow at {url} fails: {_reason(answer)}")


def _answer(url: str, method: str, path: str, **arguments: Any) -> requests.Response:
    """Any request may be repeated: what is made twice is refused, what is logged twice is one."""
    retry = Retry(
        total=2,
        connect=0,
        backoff_factor=0.5,
        status_forcelist=BUSY,
        allowed_methods=None,
        raise_on_status=False,
    )
    try:
        with requests.Session() as session:
            session.mount(url, HTTPAdapter(max_retries=retry))
            return session.request(method, f"{url}/api/2.0/{path}", timeout=SECONDS, **arguments)
    except requests.RequestException as error:
        raise AigqError(f"MLflow at {url} fails: {error}") from error


def _error(answer: requests.Response) -> Json:
    try:
        body: Json = answer.json()
    except ValueError:
        return {}
    return body


def _reason(answer: requests.Response) -> str:
    said = str(_error(answer).get("message", answer.text)).strip().splitlines()
    return f"{answer.status_code} {said[0][:200] if said else ''}".rstrip()
