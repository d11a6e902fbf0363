from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from meshward.kit.errors import MeshwardError
from meshward.kit.exits import Exit
from meshward.runtime.place.ports import require_free

LISTEN = """
import socket, sys
s = socket.socket({family}); s.bind(("{host}", 0)); s.listen()
print(s.getsockname()[1], flush=True); sys.stdin.read()
"""


@pytest.mark.parametrize(
    ("family", "host"),
    [("socket.AF_INET", "127.0.0.1"), ("socket.AF_INET", "0.0.0.0"), ("socket.AF_INET6", "::")],
)
def test_who_holds_a_port_is_named_by_pid_and_command_without_arguments(family: str, host: str):
    secret = "--api-key=hunter2"
    script = LISTEN.format(family=family, host=host)
    command = [sys.executable, "-c", script, secret]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        port = int(process.stdout.readline())

        with pytest.raises(MeshwardError) as caught:
            require_free([("127.0.0.1", port)])

        process.kill()
    assert caught.value.exit_code is Exit.CONFLICT
    assert f"port {port} on 127.0.0.1 is in use by `python" in caught.value.message
    assert f"(pid {process.pid})" in caught.value.message
    assert "hunter2" not in caught.value.message


def test_free_ports_pass_also_right_after_a_connection_was_closed():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        accepted, _ = server.accept()
        accepted.close()  # the server closes first: its side of the connection stays in TIME_WAIT
        client.close()

    require_free([("127.0.0.1", port)])


def test_an_address_that_is_not_ours_is_no_conflict_but_an_error_with_a_remedy():
    with pytest.raises(MeshwardError) as caught:
        require_free([("203.0.113.1", 8443)])
    assert caught.value.code.number == "MW3006"
    assert "address of this machine" in caught.value.remedy
