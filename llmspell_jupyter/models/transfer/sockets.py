"""Open connections of a pull, so that a stop ends them at once, and connecting in small steps."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
import time
from collections.abc import Sequence

from llmspell_jupyter.errors import Interrupted, Unreachable

_STEP = 0.05


class Sockets:
    """Connections of one pull. Any thread may open one; ``shut`` ends all, later ones included.

    Attributes:
        over: Set once the pull is over, for whatever reason.
    """

    def __init__(self) -> None:
        self.over = threading.Event()
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()

    def shut(self) -> None:
        """Wake every thread that reads or writes; its connection ends."""
        with self._lock:
            self.over.set()
            for each in self._open:
                _shut(each)

    def check(self) -> None:
        """Raises ``Interrupted`` once the pull is over."""
        if self.over.is_set():
            raise Interrupted("The pull was stopped.")

    def pause(self, seconds: float) -> None:
        """Wait, unless the pull ends meanwhile, which raises ``Interrupted``."""
        self.over.wait(seconds)
        self.check()

    def add(self, opened: socket.socket) -> None:
        """Have a connection ended by ``shut``."""
        with self._lock:
            self._open.add(opened)
        self.check()

    def remove(self, opened: socket.socket) -> None:
        """Forget a connection."""
        with self._lock:
            self._open.discard(opened)

    def connect(
        self,
        addresses: Sequence[tuple[socket.AddressFamily, tuple[str, int]]],
        seconds: float,
        name: str,
    ) -> socket.socket:
        """A connection to the first of these addresses that answers.

        Args:
            addresses: Numbers, not names.
            seconds: For each of them.
            name: Of the server, for messages.

        Raises:
            Unreachable: None answers.
            Interrupted: The pull is over.
        """
        cause = "there is no address"
        for family, address in addresses:
            try:
                return self._connect(family, address, seconds)
            except OSError as error:
                cause = error.strerror or "it is silent"
        raise Unreachable(
            f"{name} does not answer: {cause}.",
            hint="Check the connection, then type the same line again: it goes on where it was.",
            data={"host": name},
        )

    def _connect(
        self, family: socket.AddressFamily, address: tuple[str, int], seconds: float
    ) -> socket.socket:
        opened = socket.socket(family, socket.SOCK_STREAM)
        try:
            opened.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                opened.connect(address)
            self._wait(opened, seconds)
            with contextlib.suppress(OSError):
                opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            opened.setblocking(True)
        except BaseException:
            opened.close()
            raise
        return opened

    def _wait(self, opened: socket.socket, seconds: float) -> None:
        until = time.monotonic() + seconds
        while True:
            self.check()
            _, ready, failed = select.select([], [opened], [opened], _STEP)
            if ready or failed:
                break
            if time.monotonic() > until:
                raise TimeoutError(None, f"no answer within {seconds:g} s")
        if number := opened.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(number, _why(number))


def _shut(opened: socket.socket) -> None:
    with contextlib.suppress(OSError):
        # That of a TLS connection drops its state, which another thread is using.
        socket.socket.shutdown(opened, socket.SHUT_RDWR)


def _why(number: int) -> str:
    return os.strerror(number).lower()
