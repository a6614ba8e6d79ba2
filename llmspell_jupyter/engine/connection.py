"""The connection file: where an engine listens and the token that it wants."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import psutil

#: Changes when an older client could not talk to a newer engine, or the other way round.
PROTOCOL = 2

#: Header of requests that only look, as pages do every few seconds: they are no use of an engine.
LOOK = "X-LLMSpell-Look"


@dataclass(frozen=True, slots=True)
class Connection:
    """A running engine.

    Attributes:
        transport: ``unix`` (a socket file) or ``tcp`` (loopback).
        address: Path of the socket, or ``host:port``.
        token: Wanted as ``Authorization: Bearer TOKEN`` with every request.
        pid: The engine's process.
        created: When that process began, seconds since the epoch, to tell it from a later one.
        version: Version of this package in the engine.
        python: Interpreter that runs it.
        protocol: ``PROTOCOL`` of the engine.
    """

    transport: Literal["unix", "tcp"]
    address: str
    token: str
    pid: int
    created: float
    version: str
    python: str
    protocol: int = PROTOCOL

    @property
    def url(self) -> str:
        """Base URL; over a Unix socket the host is a name without meaning."""
        return f"http://{self.address if self.transport == 'tcp' else 'engine'}"

    @property
    def openai_url(self) -> str | None:
        """Base URL for OpenAI clients; None over a Unix socket, which they do not reach."""
        return f"{self.url}/v1" if self.transport == "tcp" else None

    def process(self) -> psutil.Process | None:
        """The engine's process if it runs still."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.created) < 1
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.Error:
            return None


def read(path: Path) -> Connection | None:
    """The engine that the file names; None when there is no file or it makes no sense."""
    try:
        values = json.loads(path.read_text("utf-8"))
        # A newer engine may say more; its protocol tells whether this one can talk to it.
        return Connection(**{name: values[name] for name in Connection.__dataclass_fields__})
    except (OSError, ValueError, TypeError, LookupError):
        return None


def write(path: Path, connection: Connection) -> None:
    """Publish a connection: readable by its user only, and never seen half written."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".tmp")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(asdict(connection), file, indent=1)
    Path(name).replace(path)


def withdraw(path: Path, connection: Connection) -> None:
    """Remove the file if it still names this engine."""
    if read(path) == connection:
        with contextlib.suppress(OSError):
            path.unlink()
