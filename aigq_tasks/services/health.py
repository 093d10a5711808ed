"""One probe per server: a real request, and in plain words what is missing while it fails."""

from collections.abc import Callable

import requests

from aigq_tasks.settings import Settings

SECONDS = 10.0  # a busy machine answers late; one that is down refuses at once
HEALTH_KEY = "health"
Probe = Callable[[Settings, dict[str, str]], str | None]


def s3(settings: Settings, secrets: dict[str, str]) -> str | None:
    """None when an object can be read back with this installation's key; else the reason.

    A read is asked for, not only an answer: after a crash SeaweedFS lists buckets some seconds
    before it finds its volumes again.
    """
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    client = boto3.client(
        "s3",
        endpoint_url=settings.s3.url,
        aws_access_key_id=secrets["AIGQ_S3__ACCESS_KEY"],
        aws_secret_access_key=secrets["AIGQ_S3__SECRET_KEY"],
        region_name="us-east-1",
        config=Config(
            connect_timeout=SECONDS,
            read_timeout=SECONDS,
            retries={"total_max_attempts": 1},
            proxies={},
        ),
    )
    bucket = settings.s3.bucket
    try:
        try:
            client.get_object(Bucket=bucket, Key=HEALTH_KEY)["Body"].read()
        except client.exceptions.NoSuchKey:
            client.put_object(Bucket=bucket, Key=HEALTH_KEY, Body=b"written by aigq up\n")
    except ClientError as error:
        return f"S3 answers {error.response['Error']['Code']}"
    except BotoCoreError as error:
        return str(error)
    return None


def valkey(settings: Settings, secrets: dict[str, str]) -> str | None:
    """None when PING is answered (a server that still loads its file answers LOADING)."""
    from valkey import Valkey
    from valkey.exceptions import ValkeyError

    try:
        Valkey.from_url(settings.valkey.url, socket_timeout=SECONDS).ping()
    except ValkeyError as error:
        return str(error)
    return None


def mlflow(settings: Settings, secrets: dict[str, str]) -> str | None:
    """None when `/health` is answered with 200."""
    return _get(f"{settings.mlflow.url}/health")[1]


def airflow_api(settings: Settings, secrets: dict[str, str]) -> str | None:
    """None when the API server answers and has its database."""
    return _airflow_component(settings, "metadatabase")


def airflow_scheduler(settings: Settings, secrets: dict[str, str]) -> str | None:
    """None when the scheduler's last heartbeat is recent."""
    return _airflow_component(settings, "scheduler")


def airflow_dags(settings: Settings, secrets: dict[str, str]) -> str | None:
    """None when the Dag processor's last heartbeat is recent."""
    return _airflow_component(settings, "dag_processor")


def airflow_triggerer(settings: Settings, secrets: dict[str, str]) -> str | None:
    """None when the triggerer's last heartbeat is recent."""
    return _airflow_component(settings, "triggerer")


def webhook(settings: Settings, secrets: dict[str, str]) -> str | None:
    """None when the receiver answers and MLflow knows where to find it."""
    return _get(f"{settings.webhook.url}/health")[1]


def _airflow_component(settings: Settings, component: str) -> str | None:
    answer, problem = _get(f"{settings.airflow.url}/api/v2/monitor/health")
    if answer is None:
        return problem
    status = answer.json().get(component, {}).get("status")
    return None if status == "healthy" else f"Airflow reports {component} {status or 'absent'}"


def _get(url: str) -> tuple[requests.Response | None, str | None]:
    """The response and None, or None and the reason; never through a proxy."""
    with requests.Session() as session:
        session.trust_env = False
        try:
            response = session.get(url, timeout=SECONDS)
        except requests.RequestException as error:
            return None, f"no answer from {url} ({type(error).__name__})"
    if response.status_code != 200:
        return None, f"{url} answers {response.status_code}"
    return response, None


PROBES: dict[str, Probe] = {
    "s3": s3,
    "valkey": valkey,
    "mlflow": mlflow,
    "airflow-api": airflow_api,
    "airflow-scheduler": airflow_scheduler,
    "airflow-dags": airflow_dags,
    "airflow-triggerer": airflow_triggerer,
    "webhook": webhook,
}
