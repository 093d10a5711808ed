"""The receiver of MLflow's webhook: it checks the signature and starts a run of `hintq_promote`.

It decides nothing: what a moved alias means is up to `aigq promote`, which looks at the aliases
themselves. Run by uvicorn under the supervisor (infra/Procfile), on the loopback. At its start it
tells MLflow where it is; until MLflow has answered, it is not healthy.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from fastapi import FastAPI, HTTPException, Request
from starlette.concurrency import run_in_threadpool

from aigq_tasks.errors import AigqError
from aigq_tasks.services.airflow_api import AirflowApi
from aigq_tasks.settings import Settings, load_settings
from aigq_tasks.tracking.registry import CHAMPION, SERVED_AS
from aigq_tasks.tracking.rest import Json, call

DAG, NAME, PATH = "hintq_promote", "aigq-promote", "/mlflow"
REPLAY_SECONDS = 300  # older deliveries, and ones from the future, are refused
MAX_BYTES = 64 * 1024  # MLflow's deliveries have a few hundred
RETRY_SECONDS = 1.0
EVENTS = [{"entity": "MODEL_VERSION_ALIAS", "action": action} for action in ("CREATED", "DELETED")]


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application. AigqError without a secret: then anybody could sign."""
    settings = settings or load_settings()
    secret = settings.webhook.secret.get_secret_value()
    if not secret:
        raise AigqError("set AIGQ_WEBHOOK__SECRET; `aigq up` makes one")
    airflow = AirflowApi(settings.airflow.url)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.registered = False
        task = asyncio.create_task(_register_until_done(app, settings))
        yield
        task.cancel()

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/health")
    async def health() -> dict[str, str]:
        if not app.state.registered:
            raise HTTPException(503, "MLflow does not know of this receiver yet")
        return {"status": "healthy"}

    @app.post(PATH)
    async def delivered(request: Request) -> dict[str, str]:
        body = await _body(request)
        if not is_signed(secret, request.headers, body, time.time()):
            raise HTTPException(401, "the signature is wrong, or too old")
        name = _moved(body)
        if name is None:
            return {"status": "ignored"}
        run_id = f"mlflow__{request.headers['X-MLflow-Delivery-Id']}"
        conf = {"reason": f"{CHAMPION} of {name} moved in MLflow"}
        try:
            await run_in_threadpool(airflow.trigger, DAG, conf, run_id)
        except AigqError as error:
            raise HTTPException(503, str(error)) from None  # MLflow delivers it again
        return {"status": "started", "run": run_id}

    return app


def is_signed(secret: str, headers: Mapping[str, str], body: bytes, now: float) -> bool:
    """Whether MLflow, which knows the secret, sent this body lately. now: seconds since 1970.

    Signed are delivery id, time and body (HMAC-SHA256); so neither an old delivery can be sent
    again later, nor the same one under another id.
    """
    delivery, sent, given = (
        headers.get(f"X-MLflow-{name}", "") for name in ("Delivery-Id", "Timestamp", "Signature")
    )
    if not (sent.isascii() and sent.isdecimal()) or abs(now - int(sent)) > REPLAY_SECONDS:
        return False
    signed = hmac.new(secret.encode(), f"{delivery}.{sent}.".encode() + body, hashlib.sha256)
    expected = b"v1," + base64.b64encode(signed.digest())
    return hmac.compare_digest(expected, given.encode())


def register(settings: Settings) -> None:
    """Tell MLflow to deliver here; run again, it renews address and secret. AigqError when MLflow
    does not answer."""
    url = settings.mlflow.url
    webhook = {
        "name": NAME,
        "description": f"starts {DAG} when an alias moves",
        "url": f"{settings.webhook.url}{PATH}",
        "events": EVENTS,
        "secret": settings.webhook.secret.get_secret_value(),
        "status": "ACTIVE",
    }
    known = (call(url, "GET", "webhooks") or {}).get("webhooks", [])
    mine = next((one["webhook_id"] for one in known if one["name"] == NAME), None)
    if mine:
        call(url, "PATCH", f"webhooks/{mine}", json=webhook)
    else:
        call(url, "POST", "webhooks", json=webhook)


async def _register_until_done(app: FastAPI, settings: Settings) -> None:
    while not app.state.registered:
        try:
            await run_in_threadpool(register, settings)
            app.state.registered = True
        except AigqError as error:
            print(error, flush=True)
            await asyncio.sleep(RETRY_SECONDS)


async def _body(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BYTES:
            raise HTTPException(413, "too large for a delivery of MLflow")
    return body


def _moved(body: bytes) -> str | None:
    """The registered model of ours whose `champion` moved; None for any other event."""
    try:
        event: Json = json.loads(body)
        data = event["data"]
        name, alias = data["name"], data["alias"]
    except (ValueError, KeyError, TypeError):
        return None
    return str(name) if name in SERVED_AS and alias == CHAMPION else None
