"""Finding this user's engine, and starting it when there is none."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import filelock
import httpx

from llmspell_jupyter.config import environment, paths
from llmspell_jupyter.engine import connection as connections
from llmspell_jupyter.engine import log
from llmspell_jupyter.engine.connection import LOOK, PROTOCOL, Connection
from llmspell_jupyter.errors import SEE_LOGS, STOP_ENGINE, EngineUnavailable

_POLL_SECONDS = 0.03
_START_SECONDS = 60.0
_ANSWER_SECONDS = 5.0
_LOG_LINES = 5


def http_client(connection: Connection) -> httpx.AsyncClient:
    """A client for this engine that carries its token; never goes through a proxy."""
    local = connection.transport == "unix"
    return httpx.AsyncClient(
        base_url=connection.url,
        transport=httpx.AsyncHTTPTransport(uds=connection.address, verify=False) if local else None,
        headers={
            "Authorization": f"Bearer {connection.token}",
            "X-LLMSpell-Client": f"process {os.getpid()}",
            "X-LLMSpell-Owner": str(environment.owner_pid()),
        },
        timeout=httpx.Timeout(_ANSWER_SECONDS),
        trust_env=False,
        # Nothing here speaks TLS; without this each client reads all certificates first.
        verify=False,
    )


async def find() -> Connection | None:
    """The running engine; None when there is none.

    Raises:
        EngineUnavailable: There is one, but it does not answer or speaks another protocol.
    """
    found = await _asked({})
    return None if found is None else found[0]


async def look() -> dict[str, Any] | None:
    """The status of the running engine, which stays no longer for it; otherwise as ``find``."""
    found = await _asked({LOOK: "1"})
    return None if found is None else found[1]


async def _asked(headers: dict[str, str]) -> tuple[Connection, dict[str, Any]] | None:
    connection = connections.read(paths.connection_file())
    if connection is None:
        return None
    # A port is anybody's once its owner has ended; nothing may be said there then. The folder of
    # a socket stays this user's.
    if connection.transport == "tcp" and connection.process() is None:
        return None
    if connection.protocol != PROTOCOL:
        if connection.process() is None:
            return None
        raise EngineUnavailable(
            f"The running engine is of version {connection.version}, which this one cannot use.",
            hint=STOP_ENGINE,
            data={"pid": connection.pid},
        )
    try:
        async with http_client(connection) as client:
            answer = (await client.get("/api/status", headers=headers)).raise_for_status()
            status = answer.json()
    except httpx.TimeoutException:
        raise EngineUnavailable(
            f"The engine (process {connection.pid}) does not answer.",
            hint=STOP_ENGINE,
            data={"pid": connection.pid},
        ) from None
    except (httpx.HTTPError, httpx.InvalidURL, ValueError):
        # Nobody listens, or somebody else does since: the file is a leftover.
        return None
    if not isinstance(status, dict) or status.get("pid") != connection.pid:
        return None
    return connection, status


async def find_or_start() -> Connection:
    """The running engine, started if need be; however many ask at once, one is started.

    Raises:
        EngineUnavailable: It cannot be started; the message ends with its last log lines.
    """
    if found := await find():
        return found
    async with _lock(paths.engine_start_lock()):
        if found := await find():
            return found
        return await _start()


async def _start() -> Connection:
    # The log is whose lock it is: another engine may be starting, or ending, and write to it.
    with tempfile.TemporaryFile() as output:
        # Not asyncio's: the engine outlives this loop, and nobody here reads from it.
        process = subprocess.Popen(  # noqa: ASYNC220
            [
                *(sys.executable, "-m", "llmspell_jupyter.engine"),
                *("--log", "--owner", str(environment.owner_pid())),
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment.for_engine(),
            # Its own session: closing the terminal or interrupting the kernel must not reach it.
            start_new_session=True,
        )
        # Takes note of its end, whenever that is; otherwise a dead process would stay listed.
        threading.Thread(target=process.wait, name="llmspell-engine", daemon=True).start()
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            ended = process.poll() is not None
            if found := await find():
                return found
            if ended:
                break
            await asyncio.sleep(_POLL_SECONDS)
        raise EngineUnavailable(
            "The engine could not be started." + _last_words(log.of_start(output)),
            hint=SEE_LOGS,
            data={"log": str(paths.engine_log()), "exit_status": process.poll()},
        )


def _last_words(said: str) -> str:
    lines = said.strip().splitlines()[-_LOG_LINES:]
    return " Its last words:\n" + "\n".join(f"  {line[:300]}" for line in lines) if lines else ""


@asynccontextmanager
async def _lock(path: Path) -> AsyncIterator[None]:
    """Hold a file lock without blocking the event loop or outliving a cancelled wait."""
    lock = filelock.FileLock(path, mode=paths.PRIVATE)
    while True:
        try:
            lock.acquire(timeout=0)
            break
        except filelock.Timeout:
            await asyncio.sleep(_POLL_SECONDS)
    try:
        yield
    finally:
        lock.release()
