"""Looking after the engine from outside: ending it, reading its log."""

from __future__ import annotations

import time
from contextlib import suppress

import psutil

from llmspell_jupyter.config import paths
from llmspell_jupyter.engine import connection as connections
from llmspell_jupyter.engine import log
from llmspell_jupyter.engine.client import EngineClient
from llmspell_jupyter.engine.connection import Connection

_STOP_SECONDS = 5.0
_POLL_SECONDS = 0.05


def stop(client: EngineClient) -> int | None:
    """End the engine, also one that does not answer; what a dead one left is cleared away.

    Returns:
        The process that has ended; None when none ran.
    """
    found = connections.read(paths.connection_file())
    if found is None:
        return None
    process = found.process()
    if process is None:
        connections.withdraw(paths.connection_file(), found)
        return None
    with suppress(psutil.NoSuchProcess):
        if not _was_told(client):
            process.terminate()
        if not _gone(found):
            process.kill()
            _gone(found)
    connections.withdraw(paths.connection_file(), found)
    return found.pid


def running() -> Connection | None:
    """Where this user's engine listens, and its token; None when none runs."""
    found = connections.read(paths.connection_file())
    return found if found is not None and found.process() is not None else None


def log_tail(lines: int = 100) -> str:
    """The last lines that the engine and its workers wrote; empty when there are none."""
    return log.tail(lines)


def _was_told(client: EngineClient) -> bool:
    try:
        return client.shutdown()
    except Exception:
        # Whatever it is, the engine has to end.
        return False


def _gone(engine: Connection) -> bool:
    # Not psutil's wait, for which a process that its starter, a kernel, has not collected yet
    # still runs.
    deadline = time.monotonic() + _STOP_SECONDS
    while engine.process() is not None:
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True
