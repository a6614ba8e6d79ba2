"""Servers that take a question and never answer: nobody else waits for them, nor does the end."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from tests.support.engines import RunningEngine, engine, gone_within, wait_for

#: How soon an answer has to come, and how soon an engine has to end, in seconds.
SOON = 3.0

#: As many as asyncio's own threads, and some more.
MANY = min(32, (os.cpu_count() or 1) + 4) + 4


@dataclass
class Silent:
    """A server that accepts connections, and no more."""

    listener: socket.socket
    asked: list[socket.socket] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self.asked.append(self.listener.accept()[0])


@pytest.fixture
def silent() -> Iterator[Silent]:
    with socket.create_server(("127.0.0.1", 0), backlog=2 * MANY) as listener:
        server = Silent(listener)
        accepting = threading.Thread(target=server.accept)
        accepting.start()
        yield server
        listener.shutdown(socket.SHUT_RDWR)
    accepting.join()
    for each in server.asked:
        each.close()


@pytest.fixture
def running() -> Iterator[RunningEngine]:
    with engine() as made:
        assert made.chat("loaded").status_code == 200
        yield made


QUESTIONS: dict[str, dict[str, Any]] = {
    "/api/fit": {"model": "hf.co/acme/mute"},
    "/api/info": {"model": "mute:1b@ollama"},
}


@contextlib.contextmanager
def asking(running: RunningEngine, silent: Silent, path: str) -> Iterator[None]:
    """Many clients wait for that server through the engine."""
    sources = {"endpoint": silent.url, "ollama_url": silent.url}
    body = QUESTIONS[path] | {"llmspell": {"sources": sources}}

    def ask() -> None:
        # Each ends with the engine.
        with contextlib.suppress(httpx.HTTPError):
            running.http.post(path, json=body)

    with ThreadPoolExecutor(MANY) as clients:
        for _ in range(MANY):
            clients.submit(ask)
        yield
        running.process.kill()


@pytest.mark.parametrize("path", QUESTIONS)
def test_others_are_answered_and_the_engine_ends(
    running: RunningEngine, silent: Silent, path: str
) -> None:
    with asking(running, silent, path):
        wait_for(lambda: len(silent.asked) >= MANY - 4)
        began = time.monotonic()
        assert running.chat("hello").status_code == 200
        assert time.monotonic() - began < SOON
        running.process.terminate()
        assert gone_within([running.process], SOON)
