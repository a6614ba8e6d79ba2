"""An engine whose answers take their time: what it says passes through a relay that holds it."""

from __future__ import annotations

import socket
import socketserver
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import cast

from llmspell_jupyter.engine import connection as connections
from tests.support.engines import connection_file


class _Relay(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True

    def __init__(self, path: str, address: str, seconds: float):
        self.address = address
        self.seconds = seconds
        super().__init__(path, _Passing)


class _Passing(socketserver.BaseRequestHandler):
    """One connection, both ways."""

    def handle(self) -> None:
        relay = cast("_Relay", self.server)
        client: socket.socket = self.request
        with socket.socket(socket.AF_UNIX) as engine:
            engine.connect(relay.address)
            asking = threading.Thread(target=_pass, args=(client, engine))
            asking.start()
            _pass(engine, client, hold=relay.seconds)
            asking.join()


def _pass(source: socket.socket, target: socket.socket, hold: float = 0) -> None:
    try:
        while source.recv(1, socket.MSG_PEEK):
            threading.Event().wait(hold)
            target.sendall(source.recv(65536))
        target.shutdown(socket.SHUT_WR)
    except OSError:
        # One of the two has gone, and so goes the other.
        source.close()


@contextmanager
def slow(environment: dict[str, str], seconds: float) -> Iterator[None]:
    """Who looks for this environment's engine hears whatever it says so much later."""
    file = connection_file(environment)
    found = connections.read(file)
    assert found is not None and found.transport == "unix"
    with tempfile.TemporaryDirectory(prefix="lj-") as room:
        path = str(Path(room, "socket"))
        with _Relay(path, found.address, seconds) as relay:
            threading.Thread(target=relay.serve_forever, args=(0.05,)).start()
            connections.write(file, replace(found, address=path))
            try:
                yield
            finally:
                connections.write(file, found)
                relay.shutdown()
