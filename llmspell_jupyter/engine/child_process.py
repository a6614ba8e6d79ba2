"""A child process whose end is known by the process itself.

What asyncio offers waits, in some versions of Python, for the end of its pipes as well, which a
process that it has started may hold open for as long as it likes.
"""

from __future__ import annotations

import asyncio
import contextlib
from asyncio.subprocess import PIPE, SubprocessStreamProtocol
from collections.abc import Mapping

# What is read ahead of whoever reads its output.
_BUFFER = 2**16


class ChildProcess:
    """A process with pipes for its three standard streams. Made by ``start``.

    Attributes:
        pid: Its id.
        stdin: What it reads.
        stdout: What it writes.
        stderr: What it says beside that.
    """

    def __init__(self, protocol: _Protocol, transport: asyncio.SubprocessTransport):
        assert protocol.stdin and protocol.stdout and protocol.stderr
        self.pid = transport.get_pid()
        self.stdin = protocol.stdin
        self.stdout = protocol.stdout
        self.stderr = protocol.stderr
        self._protocol = protocol
        self._transport = transport

    @classmethod
    async def start(cls, *command: str, env: Mapping[str, str]) -> ChildProcess:
        """Start a program.

        Raises:
            OSError: It cannot be started.
            RuntimeError: Nothing could take note of its end; it does not run then.
        """
        loop = asyncio.get_running_loop()
        protocol = _Protocol(loop)
        try:
            transport, _ = await loop.subprocess_exec(
                lambda: protocol, *command, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=env
            )
        except BaseException:
            protocol.refuse()
            raise
        return cls(protocol, transport)

    @property
    def returncode(self) -> int | None:
        """Its exit status, negative for a signal; None while it runs."""
        return self._transport.get_returncode()

    async def wait(self) -> None:
        """Wait for its end, whoever holds its pipes."""
        await self._protocol.exited.wait()

    def kill(self) -> None:
        """End it at once; nothing happens when it has ended."""
        with contextlib.suppress(ProcessLookupError):
            self._transport.kill()

    def close(self) -> None:
        """Close this side of its pipes, and end it if it runs still."""
        self._transport.close()


class _Protocol(SubprocessStreamProtocol):
    """Streams for the pipes, and an event for the end."""

    def __init__(self, loop: asyncio.AbstractEventLoop):
        super().__init__(limit=_BUFFER, loop=loop)
        self.exited = asyncio.Event()
        self._made: asyncio.BaseTransport | None = None
        self._refused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._made = transport
        if self._refused:
            transport.close()
        else:
            super().connection_made(transport)

    def process_exited(self) -> None:
        super().process_exited()
        self.exited.set()

    def refuse(self) -> None:
        """End a process of which nobody knows, also one whose pipes are not there yet."""
        self._refused = True
        if self._made is not None:
            self._made.close()
