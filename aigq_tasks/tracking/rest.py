"""MLflow by plain REST: loading its client takes 2.7 s, a request milliseconds."""

from typing import Any

import requests

from aigq_tasks.errors import AigqError

SECONDS = 10.0
Json = dict[str, Any]


def call(url: str, method: str, path: str, **arguments: Any) -> Json | None:
    """What MLflow at `url` answers to `/api/2.0/mlflow/<path>`; None when it knows no such thing.
    AigqError when it does not answer, or refuses."""
    try:
        answer = requests.request(
            method, f"{url}/api/2.0/mlflow/{path}", timeout=SECONDS, **arguments
        )
        if answer.status_code == 404:
            return None
        answer.raise_for_status()
        body: Json = answer.json()
    except requests.RequestException as error:
        raise AigqError(f"MLflow at {url} fails: {error}") from error
    return body
