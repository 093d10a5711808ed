"""Whether the services that a command needs answer, before it begins."""

from collections.abc import Callable, Mapping

from aigq_tasks.errors import AigqError
from aigq_tasks.pipeline.context import Context

PING_SECONDS = 3.0
START_HINT = "start the services with 'make up'"


def preflight(needs: tuple[str, ...], ctx: Context) -> None:
    """Raise AigqError with one line for each needed service that does not answer."""
    checks: Mapping[str, Callable[[Context], None]] = {
        "s3": _ping_s3,
        "mlflow": _ping_mlflow,
        "valkey": _ping_valkey,
    }
    problems = []
    for service in needs:
        try:
            checks[service](ctx)
        except AigqError as error:
            problems.append(str(error))
    if problems:
        raise AigqError("\n".join(problems))


def _ping_s3(ctx: Context) -> None:
    ctx.store.ping()
    ctx.require_own_format()


def _ping_mlflow(ctx: Context) -> None:
    import requests

    url = ctx.settings.mlflow.url
    try:
        requests.get(f"{url}/health", timeout=PING_SECONDS).raise_for_status()
    except requests.RequestException as error:
        raise AigqError(f"MLflow does not answer at {url}: {START_HINT}") from error


def _ping_valkey(ctx: Context) -> None:
    import valkey

    url = ctx.settings.valkey.url
    timeouts = {"socket_connect_timeout": PING_SECONDS, "socket_timeout": PING_SECONDS}
    try:
        with valkey.Valkey.from_url(url, **timeouts) as client:
            client.ping()
    except valkey.ValkeyError as error:
        raise AigqError(f"Valkey does not answer at {url}: {START_HINT}") from error
