"""Is a port free, and if not, who holds it."""

import errno
import socket

import psutil

from aigq_tasks.errors import AigqError


def require_free(service: str, host: str, ports: range, setting: str) -> None:
    """AigqError in one line when one of `ports` is taken: which, by whom, what changes it.

    `setting` is the setting of `ports[0]`; the others follow from it.
    """
    for port in ports:
        if _is_free(host, port):
            continue
        variable = f"AIGQ_{setting.replace('.', '__').upper()}"
        which = str(port) if port == ports[0] else f"{port} ({setting} + {port - ports[0]})"
        raise AigqError(
            f"{service} needs port {which}, which {_holder(port)} uses; "
            f"end it, or set {setting} in aigq.toml or {variable}"
        )


def _is_free(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise AigqError(f"cannot listen on {host}:{port}: {error.strerror}") from None
    return True


def _holder(port: int) -> str:
    """`name (pid N)` of the listener, or a word for one that may not be seen."""
    try:
        for connection in psutil.net_connections(kind="tcp"):
            listening = connection.status == psutil.CONN_LISTEN
            if listening and connection.laddr.port == port and connection.pid:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
    except psutil.Error:
        pass
    return "another process"
