"""An HTTP proxy in front of a real S3 server that fails on order, as networks do."""

import http.client
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import urlsplit

Fault = Literal["lose request", "lose response", "hang", "503", "409", "412"]
HANG_SECONDS = 1.5


class FaultProxy(ThreadingHTTPServer):
    """Forwards every request, except that each PUT takes the next planned fault."""

    daemon_threads = True

    def __init__(self, upstream: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = urlsplit(upstream).netloc
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.plan: deque[Fault] = deque()
        self.puts = 0


class _Handler(BaseHTTPRequestHandler):
    server: FaultProxy
    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        self.server.puts += 1
        fault = self.server.plan.popleft() if self.server.plan else None
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if fault in ("503", "409", "412"):
            self.send_response(int(fault))
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif fault == "lose request":
            self.close_connection = True
        else:
            self._forward(body, answer=fault is None)
            if fault == "hang":
                time.sleep(HANG_SECONDS)

    def do_GET(self) -> None:
        self._forward(b"", answer=True)

    def do_HEAD(self) -> None:
        self._forward(b"", answer=True)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet: pytest shows the client's side."""

    def _forward(self, body: bytes, answer: bool) -> None:
        upstream = http.client.HTTPConnection(self.server.upstream, timeout=10)
        upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():  # Host stays: it is part of the signature
            if name != "Expect":
                upstream.putheader(name, value)
        upstream.endheaders(body)
        response = upstream.getresponse()
        data = response.read()
        upstream.close()
        if not answer:
            self.close_connection = True
            return
        self.send_response(response.status)
        for name, value in response.getheaders():
            if name not in ("Date", "Server", "Transfer-Encoding", "Connection"):
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def fault_proxy(upstream: str) -> Iterator[FaultProxy]:
    """A proxy in front of the server at `upstream`, until the block ends."""
    with FaultProxy(upstream) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, daemon=True)
        thread.start()
        yield proxy
        proxy.shutdown()
