"""Looking after the engine from outside: ending it, reading its log."""

from __future__ import annotations

import psutil

from llmspell_jupyter.config import paths
from llmspell_jupyter.engine import connection as connections
from llmspell_jupyter.engine.client import EngineClient
from llmspell_jupyter.errors import LLMSpellError

_STOP_SECONDS = 5.0


def stop(client: EngineClient) -> int | None:
    """End the engine, also one that does not answer.

    Returns:
        The process that has ended; None when none ran.
    """
    found = connections.read(paths.connection_file())
    process = found.process() if found else None
    if found is None or process is None:
        return None
    try:
        client.shutdown()
    except LLMSpellError:
        process.terminate()
    if not _gone(process):
        process.kill()
        _gone(process)
    connections.withdraw(paths.connection_file(), found)
    return found.pid


def log_tail(lines: int = 100) -> str:
    """The last lines that the engine and its workers wrote; empty when there are none."""
    try:
        text = paths.engine_log().read_text("utf-8", "replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


def _gone(process: psutil.Process) -> bool:
    try:
        process.wait(_STOP_SECONDS)
    except psutil.TimeoutExpired:
        return False
    except psutil.NoSuchProcess:
        pass
    return True
