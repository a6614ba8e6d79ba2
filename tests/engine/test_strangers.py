"""Somebody else listens where a dead engine did: nothing is said to them, and they hold up nobody."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import psutil
import pytest

from llmspell_jupyter.engine import connection as connections
from llmspell_jupyter.engine import control
from llmspell_jupyter.engine.client import EngineClient
from llmspell_jupyter.engine.connection import Connection
from llmspell_jupyter.types import Completion, GenerationRequest, Sources
from tests.support.engines import (
    ECHO,
    PATIENCE,
    attach,
    connection_file,
    engine,
    gone_within,
    in_this_process,
    jupyter_llmspell,
    runtime_folder,
)

PAGE = b"<!doctype html><title>Another program</title>"


@contextmanager
def stranger(port: int = 0, answer: bytes = b"{}") -> Iterator[tuple[str, list[str]]]:
    """A server that answers everything with 200; its address and what it was told."""
    told: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"] or 0))
            told.append(f"{self.requestline}\n{self.headers}{body.decode()}")
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_POST = do_GET  # noqa: N815  as http.server wants it

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}", told
        finally:
            server.shutdown()
            thread.join()


def _generate(client: EngineClient) -> None:
    *_, last = client.generate(GenerationRequest(ECHO, prompt="a secret"))
    assert isinstance(last, Completion) and last.text == "a secret"


def _search(client: EngineClient) -> None:
    client.available(sources=Sources(token="hf_secret", offline=True))


@pytest.mark.parametrize("use", [_generate, _search])
def test_who_took_a_dead_engines_port_is_told_nothing(
    client: EngineClient, use: Callable[[EngineClient], None]
) -> None:
    with engine(LLMSPELL_ENGINE_TRANSPORT="tcp") as dead, in_this_process(dead.environment):
        dead.process.kill()
        assert gone_within([dead.process], PATIENCE)
        _, port = dead.connection.address.split(":")
        with stranger(int(port)) as (_, told):
            use(client)
            assert not told
        alive = attach(dead.environment)
        assert alive is not None and alive.process != dead.process


@contextmanager
def named(environment: dict[str, str], transport: str, address: str) -> Iterator[None]:
    """A connection file that says that this process is an engine there."""
    me = psutil.Process()
    here = Connection(transport, address, "t", me.pid, me.create_time(), "0", "")  # type: ignore[arg-type]
    file = connection_file(environment)
    file.parent.mkdir(parents=True, exist_ok=True)
    connections.write(file, here)
    try:
        yield
    finally:
        connections.withdraw(file, here)


@pytest.mark.parametrize("answer", [PAGE, b"\xff", b"[]", b"{}", b'{"pid": 1}'])
def test_what_answers_otherwise_than_an_engine_is_none(client: EngineClient, answer: bytes) -> None:
    with (
        runtime_folder(JPY_PARENT_PID=str(os.getpid())) as environment,
        in_this_process(environment),
        stranger(answer=answer) as (address, told),
        named(environment, "tcp", address),
    ):
        assert client.status() is None
        _generate(client)
        assert "secret" not in str(told)


@pytest.mark.parametrize("address", ["127.0.0.1:port", "\x00", "[::1"])
@pytest.mark.parametrize("transport", ["tcp", "unix"])
def test_an_address_that_is_none_is_no_engine(
    client: EngineClient, transport: str, address: str
) -> None:
    with (
        runtime_folder() as environment,
        in_this_process(environment),
        named(environment, transport, address),
    ):
        assert client.status() is None


def test_a_stop_clears_away_what_a_dead_engine_left(client: EngineClient) -> None:
    with engine(LLMSPELL_ENGINE_TRANSPORT="tcp") as dead, in_this_process(dead.environment):
        dead.process.kill()
        assert gone_within([dead.process], PATIENCE)
        file = connection_file(dead.environment)
        assert file.exists()
        assert control.stop(client) is None
        assert not file.exists()
        done = jupyter_llmspell(dead.environment, "engine", "stop")
        assert done.returncode == 0 and "not running" in done.stdout
