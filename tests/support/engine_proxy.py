"""Stands between clients and a real engine: sees what is asked, and breaks or holds up answers."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from llmspell_jupyter.engine import connection as connections
from tests.support.engines import PATIENCE, RunningEngine, connection_file


class EngineProxy:
    """What tests look at and set up.

    Attributes:
        asked: ``METHOD /path`` of each request so far, without its query.
        before: By ``METHOD /path``, called after the engine has the request and before the client
            has a byte of the answer; on a thread of that connection.
    """

    def __init__(self, engine: RunningEngine, listener: socket.socket):
        self.asked: list[str] = []
        self.before: dict[str, Callable[[], object]] = {}
        self._engine = engine
        self._listener = listener
        self._cut: set[str] = set()
        self._ends = threading.Event()

    def hold(self, request: str) -> threading.Event:
        """Answers to this request come once the event is set."""
        event = threading.Event()

        def wait() -> None:
            while not event.wait(0.01) and not self._ends.is_set():
                pass

        self.before[request] = wait
        return event

    def cut(self, request: str) -> None:
        """Close the connection once it has this request, of which the engine hears nothing."""
        self._cut.add(request)

    def stop_listening(self) -> None:
        """Refuse further connections, as an engine does that has ended."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def end(self) -> None:
        """Stop, and let go of what is held."""
        self._ends.set()
        self.stop_listening()

    def serve(self) -> None:
        """Take connections until it ends."""
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._pass_on, args=(client,), daemon=True).start()

    def _pass_on(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as engine:
            engine.connect(self._engine.connection.address)
            head = client.recv(64 * 1024)
            request = head.split(b"?")[0].split(b" HTTP/")[0].decode()
            self.asked.append(request)
            if request in self._cut:
                return
            engine.sendall(head)
            # The rest of the request, and the end of a client that leaves.
            threading.Thread(target=_copy, args=(client, engine), daemon=True).start()
            if before := self.before.get(request):
                before()
            _copy(engine, client)


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while block := source.recv(64 * 1024):
            target.sendall(block)
    for each in (source, target):
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


@contextmanager
def engine_proxy(engine: RunningEngine) -> Iterator[EngineProxy]:
    """A proxy that clients take for this engine, which listens on a Unix socket."""
    file = connection_file(engine.environment)
    path = Path(engine.connection.address).with_name("proxy.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(64)
        proxy = EngineProxy(engine, listener)
        thread = threading.Thread(target=proxy.serve, daemon=True)
        thread.start()
        through = replace(engine.connection, address=str(path))
        connections.write(file, through)
        try:
            yield proxy
        finally:
            proxy.end()
            thread.join(PATIENCE)
            if connections.read(file) == through:
                connections.write(file, engine.connection)
