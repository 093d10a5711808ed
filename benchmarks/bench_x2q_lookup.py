"""Time to look up the triggers of one request in Valkey: round trip, decoding and all.

    python benchmarks/bench_x2q_lookup.py [--triggers 20000] [--lookups 5000]

A Valkey server of its own on a free port holds one version of a synthetic index, 30 queries per
trigger. Every look-up asks for 10 triggers of which 8 are in the index, over one connection, as
the hint API does.
"""

import argparse
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pandas as pd
from tenacity import Retrying, stop_after_delay, wait_fixed

from aigq_tasks.services.environment import valkey_binary
from aigq_tasks.serving.indexes import connect, load_x2q, lookup_x2q

DEPTH, ASKED, KNOWN = 30, 10, 8


def index(triggers: int) -> pd.DataFrame:
    """trigger, rank, query, score of a full index."""
    rank = np.tile(np.arange(1, DEPTH + 1), triggers)
    number = np.repeat(np.arange(triggers), DEPTH)
    return pd.DataFrame(
        {
            "trigger": [f"trigger number {n}" for n in number],
            "rank": rank,
            "query": [
                f"some query {(n * 7 + r) % 5000}" for n, r in zip(number, rank, strict=True)
            ],
            "score": 1 / rank,
        }
    )


@contextmanager
def valkey_server() -> Iterator[str]:
    """A server without persistence; yields its URL as soon as it answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"redis://127.0.0.1:{port}/0"
    command = [str(valkey_binary()), "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        try:
            for attempt in Retrying(stop=stop_after_delay(10), wait=wait_fixed(0.05), reraise=True):
                with attempt, connect(url) as client:
                    client.ping()
            yield url
        finally:
            server.terminate()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--triggers", type=int, default=20_000)
    parser.add_argument("--lookups", type=int, default=5_000)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    with valkey_server() as url, connect(url) as client:
        clock = time.perf_counter()
        load_x2q(client, "bench", index(options.triggers))
        seconds = time.perf_counter() - clock
        print(f"load {options.triggers} triggers of {DEPTH} queries: {seconds:.1f} s")
        milliseconds = []
        for _ in range(options.lookups):
            known = rng.integers(options.triggers, size=KNOWN)
            asked = [f"trigger number {n}" for n in known] + ["no such", "trigger"]
            clock = time.perf_counter()
            found = lookup_x2q(client, "bench", asked)
            milliseconds.append((time.perf_counter() - clock) * 1_000)
            assert len(found) <= ASKED
    median, p99 = np.percentile(milliseconds, [50, 99])
    print(
        f"look up {ASKED} triggers: median {median:.2f} ms, p99 {p99:.2f} ms, "
        f"{options.lookups} look-ups"
    )


if __name__ == "__main__":
    main()
