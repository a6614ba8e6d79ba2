"""Who can reach an engine: its user's programs, and nobody else (threats E9 and S2)."""

from __future__ import annotations

import json
import os
import socket
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.engines import (
    PATIENCE,
    RunningEngine,
    connection_file,
    engine,
    python,
    runtime_folder,
    started,
)

ROUTES = [
    ("GET", "/api/status"),
    ("GET", "/api/models"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/echo"),
    ("GET", "/metrics"),
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/completions"),
    ("POST", "/api/shutdown"),
    ("GET", "/no/such/route"),
]

TRANSPORTS = ["tcp"] if os.name == "nt" else ["unix", "tcp"]


@pytest.fixture(scope="module", params=TRANSPORTS)
def running(request: Any) -> Iterator[RunningEngine]:
    with engine(LLMSPELL_ENGINE_TRANSPORT=request.param) as started_:
        assert started_.connection.transport == request.param
        yield started_


@pytest.fixture(scope="module")
def tcp() -> Iterator[RunningEngine]:
    with engine(LLMSPELL_ENGINE_TRANSPORT="tcp") as started_:
        yield started_


def token(running: RunningEngine) -> dict[str, str]:
    return {"Authorization": f"Bearer {running.connection.token}"}


def ask(running: RunningEngine, method: str, path: str, headers: dict[str, str]) -> httpx.Response:
    with running.client(**headers) as client:
        return client.request(method, path)


def still_works(running: RunningEngine) -> bool:
    return running.chat("hello").status_code == 200


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_no_route_answers_without_the_token(running: RunningEngine, method: str, path: str) -> None:
    right = running.connection.token
    for given in (
        None,
        "",
        "Bearer",
        "Bearer wrong",
        f"Bearer {right[:-1]}",
        f"Bearer {right}x",
        f"bearer {right}",
        f"Basic {right}",
        right,
    ):
        headers = {} if given is None else {"Authorization": given}
        response = ask(running, method, path, headers)
        assert response.status_code == 401, (given, response.text)
        assert response.json()["error"]["type"] == "Refused"
    assert still_works(running)


def test_a_token_that_is_not_ascii_is_refused(running: RunningEngine) -> None:
    with running.client() as client:
        request = client.build_request("GET", "/api/status")
        request.headers = httpx.Headers(
            [(b"Authorization", b"Bearer \xff\xfe"), (b"Host", request.headers["Host"].encode())]
        )
        assert client.send(request).status_code == 401


@pytest.mark.parametrize(
    "origin", ["null", "http://evil.test", "https://localhost:8888", "http://127.0.0.1"]
)
@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_no_web_page_gets_through(
    running: RunningEngine, method: str, path: str, origin: str
) -> None:
    response = ask(running, method, path, token(running) | {"Origin": origin})
    assert response.status_code == 403
    assert "access-control-allow-origin" not in response.headers
    assert still_works(running)


def test_no_preflight_is_answered(running: RunningEngine) -> None:
    headers = {"Origin": "http://evil.test", "Access-Control-Request-Method": "POST"}
    response = ask(running, "OPTIONS", "/v1/chat/completions", headers)
    assert response.status_code == 403
    assert not [name for name in response.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    "host",
    [
        "evil.test",
        "localhost",
        "127.0.0.1",
        "{address}.evil.test",
        "evil.test:{port}",
        "localhost:{port}",
        "[::1]:{port}",
        "",
    ],
)
def test_over_tcp_only_the_engines_own_name_is_known(tcp: RunningEngine, host: str) -> None:
    address = tcp.connection.address
    host = host.format(address=address, port=address.rpartition(":")[2])
    response = ask(tcp, "GET", "/api/status", token(tcp) | {"Host": host})
    assert response.status_code in (400, 403) and (response.status_code == 403 or not host)
    assert ask(tcp, "GET", "/api/status", token(tcp) | {"Host": address}).status_code == 200


def test_tcp_is_loopback_only(tcp: RunningEngine) -> None:
    listening = [
        each for each in tcp.process.net_connections(kind="inet") if each.status == "LISTEN"
    ]
    assert [each.laddr.ip for each in listening] == ["127.0.0.1"]
    assert tcp.connection.address == f"127.0.0.1:{listening[0].laddr.port}"


@pytest.mark.skipif(os.name == "nt", reason="no Unix sockets")
def test_nothing_listens_on_tcp_by_default() -> None:
    with engine() as running:
        assert running.connection.transport == "unix"
        assert still_works(running)
        assert len(running.family()) == 2
        for process in running.family():
            assert process.net_connections(kind="inet") == []


@pytest.mark.skipif(os.name == "nt", reason="no modes")
def test_only_the_user_can_read_the_files() -> None:
    with engine() as running:
        runtime = Path(running.environment["JUPYTER_RUNTIME_DIR"])
        socket_ = Path(running.connection.address)
        modes = {
            path: stat.S_IMODE(path.stat().st_mode)
            for path in (runtime, connection_file(running.environment), socket_.parent, socket_)
        }
        assert list(modes.values()) == [0o700, 0o600, 0o700, 0o600]
        assert socket_.parent.parent == runtime
        # Two engines never have the same token, and it is too long to guess.
        with engine() as other:
            assert other.connection.token != running.connection.token
            assert len(other.connection.token) >= 40


@pytest.mark.skipif(os.name == "nt", reason="no modes")
def test_all_that_a_notebook_and_its_engine_make_is_private() -> None:
    """Where others may look into the folder, and the user hides nothing by default."""
    with runtime_folder(JPY_PARENT_PID=str(os.getpid())) as environment:
        code = "import os; os.umask(0)\n"
        code += "from llmspell_jupyter.engine.client import EngineClient\n"
        code += "EngineClient().status(start_engine=True)"
        process = python(environment, "-c", code)
        _, errors = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, errors
        runtime = Path(environment["JUPYTER_RUNTIME_DIR"])
        found = {path.name: stat.S_IMODE(path.stat().st_mode) for path in runtime.rglob("*")}
        assert {"llmspell-engine.json", "llmspell-engine.log", "engine.sock"} <= found.keys()
        assert [name for name in found if name.endswith(".lock")]
        # A lock that others can open is a lock that others can hold.
        assert {name: mode for name, mode in found.items() if mode & 0o077} == {}
        assert stat.S_IMODE(runtime.stat().st_mode) == 0o700


STRANGER = """
import json, os, socket, sys
address, file, user = sys.argv[1], sys.argv[2], int(sys.argv[3])
if user:
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)
def attempt(do):
    try:
        do()
    except OSError as error:
        return type(error).__name__
    return "done"
def connect():
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(address)
print(json.dumps({
    "list": attempt(lambda: os.listdir(os.path.dirname(file))),
    "read": attempt(lambda: open(file).read()),
    "lock": attempt(lambda: open(file.replace(".json", ".lock")).read()),
    "look": attempt(lambda: os.listdir(os.path.dirname(address))),
    "connect": attempt(connect),
}))
"""


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0,
    reason="only root can be another user; test_all_that_a_notebook_and_its_engine_make_is_private "
    "holds the modes that refuse one",
)
def test_another_user_of_this_machine_is_refused() -> None:
    # Even where the runtime folder itself can be looked into.
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="lj-") as room:
        runtime = Path(room, "runtime")
        runtime.mkdir()
        for folder in (Path(room), runtime):
            folder.chmod(0o755)
        with (
            runtime_folder() as environment,
            started(environment | {"JUPYTER_RUNTIME_DIR": str(runtime)}) as running,
        ):
            file = str(connection_file(running.environment))

            def as_user(user: int) -> Any:
                process = python(
                    running.environment, "-c", STRANGER, running.connection.address, file, str(user)
                )
                output, errors = process.communicate(timeout=PATIENCE)
                assert process.returncode == 0, errors
                return json.loads(output)

            assert set(as_user(0).values()) == {"done"}
            refused = as_user(65534)
            assert refused.pop("list") == "done"
            assert refused == dict.fromkeys(("read", "lock", "look", "connect"), "PermissionError")


def test_a_websocket_gets_nowhere(tcp: RunningEngine) -> None:
    host, _, port = tcp.connection.address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as client:
        client.sendall(
            b"GET /api/status HTTP/1.1\r\nHost: evil.test\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        assert b" 101 " not in client.recv(65536).partition(b"\r\n")[0]
    assert still_works(tcp)


@pytest.mark.parametrize(
    "garbage", [b"\x00" * 100, b"GET / HTTP/9.9\r\n\r\n", os.urandom(4096), b"A" * 200_000], ids=len
)
def test_what_is_no_http_harms_nobody(running: RunningEngine, garbage: bytes) -> None:
    if running.connection.transport == "unix":
        client = socket.socket(socket.AF_UNIX)
        address: Any = running.connection.address
    else:
        client = socket.socket()
        host, _, port = running.connection.address.rpartition(":")
        address = (host, int(port))
    with client:
        client.settimeout(PATIENCE)
        client.connect(address)
        try:
            client.sendall(garbage)
            client.shutdown(socket.SHUT_WR)
            while client.recv(65536):
                pass
        except TimeoutError:
            raise
        except OSError:
            pass  # It has been hung up on, at whatever point of this.
    assert still_works(running)
    assert sys.executable == running.connection.python
