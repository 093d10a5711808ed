import os
import socket

import pytest
import servers

from aigq_tasks.errors import AigqError
from aigq_tasks.services.ports import require_free


def test_free_ports_pass() -> None:
    (port,) = servers.free_ports(1)
    require_free("valkey", "127.0.0.1", range(port, port + 1), "valkey.port")


def test_a_taken_port_is_named_with_its_holder_and_its_setting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(AigqError) as caught:
            require_free("valkey", "127.0.0.1", range(port, port + 1), "valkey.port")
    message = str(caught.value)
    assert message.startswith(f"valkey needs port {port}, which ")
    assert f"(pid {os.getpid()})" in message
    assert "set valkey.port in aigq.toml or AIGQ_VALKEY__PORT" in message
    assert "\n" not in message


def test_a_taken_port_that_follows_from_the_setting() -> None:
    first = servers.free_block(2)
    with (
        socket.create_server(("127.0.0.1", first + 1)),
        pytest.raises(AigqError, match=rf"s3 needs port {first + 1} \(s3.port \+ 1\)"),
    ):
        require_free("s3", "127.0.0.1", range(first, first + 2), "s3.port")


def test_a_host_that_is_not_of_this_machine() -> None:
    with pytest.raises(AigqError, match=r"cannot listen on 192\.0\.2\.1:80"):
        require_free("s3", "192.0.2.1", range(80, 81), "s3.port")
