"""The engine as a process: one for each user, found through its connection file."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import filelock
import psutil
import uvicorn

from llmspell_jupyter.config import environment, paths
from llmspell_jupyter.engine import connection as connections
from llmspell_jupyter.engine import versions
from llmspell_jupyter.engine.connection import Connection
from llmspell_jupyter.engine.engine import Engine
from llmspell_jupyter.engine.guard import Guard
from llmspell_jupyter.engine.lifetime import Lifetime
from llmspell_jupyter.engine.post import Bounds
from llmspell_jupyter.engine.service import application

_log = logging.getLogger(__name__)

# Of the 108 bytes (104 on macOS) that a socket address has for its path.
_LONGEST_SOCKET_PATH = 100

_LOOK_SECONDS = 1.0

# Connections that may wait to be accepted.
_BACKLOG = 128


@dataclass(frozen=True, slots=True)
class Settings:
    """How an engine runs.

    Attributes:
        transport: ``unix`` or ``tcp``.
        idle_seconds: End after so long without a request; 0 never does.
        owner: Process to end with; None for an engine that was started by hand.
        bounds: What it grants.
    """

    transport: Literal["unix", "tcp"]
    idle_seconds: float
    owner: int | None
    bounds: Bounds


def bounds() -> Bounds:
    """What the environment says that an engine grants.

    Raises:
        ConfigError: A variable is wrong.
    """
    return Bounds(
        queue_limit=environment.queue_limit(),
        client_queue_limit=environment.client_queue_limit(),
        memory_limit_bytes=environment.memory_limit_bytes(),
        model_ttl_seconds=environment.model_ttl_seconds(),
        pinned=environment.pinned(),
    )


def serve(
    settings: Settings, *, patience: float = 0, begin: Callable[[], None] = lambda: None
) -> bool:
    """Run the engine until it is told to stop.

    Args:
        settings: How it runs.
        patience: Time that an engine before this one has to end, in seconds.
        begin: Called first of all once no other runs.

    Returns:
        False if this user's engine runs already; nothing was done then.
    """
    try:
        with filelock.FileLock(paths.engine_lock(), timeout=patience, mode=paths.PRIVATE):
            begin()
            _clear_stale_sockets()
            asyncio.run(_serve(settings))
    except filelock.Timeout:
        return False
    return True


async def _serve(settings: Settings) -> None:
    # The server raises the signal that stopped it once more when it has ended; the handlers of
    # before would then end the process without its cleanup.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    engine = Engine(settings.bounds)
    with _listen(settings.transport) as (listener, address):
        about = Connection(
            transport=settings.transport,
            address=address,
            token=secrets.token_urlsafe(32),
            pid=os.getpid(),
            created=psutil.Process().create_time(),
            version=version("llmspell-jupyter"),
            python=sys.executable,
        )
        server: uvicorn.Server

        def stop() -> None:
            server.should_exit = True
            # Those who watch are told why.
            engine.files.pulls.stop()

        hosts = frozenset({address}) if settings.transport == "tcp" else None
        outdated = versions.warnings()
        for warning in outdated:
            _log.warning("%s", warning)
        app = application(engine, about=_public(about) | {"warnings": outdated}, stop=stop)
        lifetime = Lifetime(
            app,
            idle_seconds=settings.idle_seconds,
            owned=settings.owner is not None,
            stop=stop,
            working=lambda: any(engine.files.pulls),
        )
        if settings.owner is not None:
            lifetime.add_owner(settings.owner)
        server = uvicorn.Server(
            uvicorn.Config(
                Guard(lifetime, token=about.token, hosts=hosts),
                log_config=None,
                access_log=False,
                lifespan="off",
                server_header=False,
                timeout_graceful_shutdown=1,
            )
        )
        # The socket listens already: whoever reads the file can connect at once.
        connections.write(paths.connection_file(), about)
        tasks = [
            asyncio.create_task(lifetime.watch()),
            asyncio.create_task(_stay_published(about)),
            asyncio.create_task(engine.supervisor.tidy()),
        ]
        _log.info("Engine %s listens at %s", about.version, address)
        try:
            await server.serve(sockets=[listener])
        finally:
            for task in tasks:
                task.cancel()
            connections.withdraw(paths.connection_file(), about)
            await engine.close()
            _log.info("Engine ended")


async def _stay_published(about: Connection) -> None:
    """Write the connection file again when somebody tidies the runtime folder."""
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        if not paths.connection_file().exists():
            connections.write(paths.connection_file(), about)


def _public(about: Connection) -> dict[str, object]:
    return {
        "version": about.version,
        "pid": about.pid,
        "python": about.python,
        "started": int(about.created),
        "transport": about.transport,
    }


@contextmanager
def _listen(transport: Literal["unix", "tcp"]) -> Iterator[tuple[socket.socket, str]]:
    if transport == "tcp":
        # asyncio sends small answers at once where a socket names its protocol, which those of
        # socket.create_server do not; elsewhere each waits 40 ms for the one before to be noted.
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(_BACKLOG)
            yield listener, f"127.0.0.1:{listener.getsockname()[1]}"
        return
    folder = _socket_folder()
    path = folder / "engine.sock"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind(str(path))
            path.chmod(0o600)
            listener.listen(_BACKLOG)
            yield listener, str(path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _socket_folder() -> Path:
    """A fresh folder for the socket that only its user can enter."""
    # Temporary folders of batch systems can be as long as any other.
    places = (paths.runtime_folder(), Path(tempfile.gettempdir()), Path("/tmp"))
    room = _LONGEST_SOCKET_PATH - len("/llmspell-xxxxxxxx/engine.sock")
    place = next((each for each in places if len(os.fsencode(each)) < room), None)
    return Path(tempfile.mkdtemp(prefix="llmspell-", dir=place))


def _clear_stale_sockets() -> None:
    """Remove socket folders of engines that were killed; the engine's lock must be held."""
    for folder in paths.runtime_folder().glob("llmspell-*/"):
        with suppress(OSError):
            if (folder / "engine.sock").is_socket():
                shutil.rmtree(folder)
