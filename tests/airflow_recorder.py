"""A server that takes what the webhook receiver asks of Airflow's REST API, and keeps it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any


class Recorder:
    """The Dag runs that were started, by run id; `url` of the server."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.runs: dict[str, dict[str, Any]] = {}
        self.posts = 0
        self.broken = False


@contextmanager
def airflow_recorder() -> Iterator[Recorder]:
    """Answers as Airflow 3.3.2 does to a token request and to POST .../dagRuns: 200 for a new run,
    409 for a run id that is known; 503 to all while it is `broken`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(200, {"access_token": "token"})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            recorder.posts += 1
            run_id = body["dag_run_id"]
            if recorder.broken:
                self._answer(503, {"detail": "no database"})
            elif run_id in recorder.runs:
                self._answer(409, {"detail": "unique constraint"})
            else:
                recorder.runs[run_id] = {"path": self.path, **body}
                self._answer(200, {"dag_run_id": run_id})

        def _answer(self, status: int, body: dict[str, Any]) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    recorder = Recorder(f"http://127.0.0.1:{server.server_port}")
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield recorder
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
