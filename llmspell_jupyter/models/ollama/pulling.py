"""Pulls by an Ollama server, which resumes and checks by itself."""

from __future__ import annotations

import queue
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from llmspell_jupyter.errors import Interrupted, InvalidModelSpec, PullError, Unreachable
from llmspell_jupyter.models import spec
from llmspell_jupyter.models.ollama.connection import LIBRARY, mapped, opened
from llmspell_jupyter.models.ollama.progress import Course
from llmspell_jupyter.types import PullProgress, PullRequest

# While it checks a large file it says nothing; longer than this nothing is going on.
_SILENT_SECONDS = 600.0
# How long it may be silent before the user is told.
_QUIET_SECONDS = 15.0
_LOOK_SECONDS = 0.05
_REPORT_SECONDS = 0.1
# A thread that is still connecting ends as soon as it has; nobody waits for it.
_END_SECONDS = 0.2


def pull(
    request: PullRequest, report: Callable[[PullProgress], None], stop: threading.Event
) -> PullProgress:
    """Have the server fetch a model, and tell how far it is.

    Args:
        request: Names a model of Ollama's. The server resumes and checks by itself, and cannot
            be slowed down.
        report: Is told how far it is, on this thread; a server that says nothing for 15 seconds
            is told in a note.
        stop: Ends it; the server stops, and keeps what it has.

    Returns:
        The last word, its phase ``complete``.

    Raises:
        InvalidModelSpec: Ollama's models have no such revision or quantisation.
        ModelNotFound: Its library has no such model.
        NoSpace: The server's disk is full.
        Interrupted: It was stopped.
        Unreachable: No server answers within 2 seconds, or no network may be used.
        PullError: The server failed, or was silent for ten minutes.
    """
    name = name_of(request)
    url = request.sources.ollama_url
    if request.sources.offline:
        raise Unreachable(
            f"{name} is not fetched: this profile works offline.",
            hint="Type: %model_list to see the models that are here.",
            data={"offline": True},
        )
    course = Course(name)
    if request.bytes_per_second or request.sources.bytes_per_second:
        course.note = "Ollama fetches by itself, as fast as it can: the limit does not hold for it."
    report(course.now())
    stream = _Stream(url, name)
    stream.start()
    heard = reported = time.monotonic()
    try:
        while True:
            if stop.is_set():
                raise Interrupted(f"The pull of {name} was stopped; what came is kept.")
            try:
                line = stream.lines.get(timeout=_LOOK_SECONDS)
            except queue.Empty:
                if time.monotonic() - heard > _QUIET_SECONDS:
                    heard = time.monotonic()
                    report(course.silent(url))
                continue
            heard = time.monotonic()
            if isinstance(line, BaseException):
                raise mapped(line, url, name) from None
            if line is None:
                raise PullError(
                    f"Ollama ended the pull of {name} before it was whole.",
                    hint="Type the same line again: it goes on where it was.",
                    data={"model": name},
                )
            turned = course.add(line)
            if course.complete:
                return course.now()
            if turned or heard - reported >= _REPORT_SECONDS:
                reported = heard
                report(course.now())
    finally:
        stream.close()


class _Stream:
    """Lines of a pull, read on a thread of their own so that it can be left at any moment.

    ``lines`` holds what came; an error, or None at the end of the stream, is the last of it.
    """

    def __init__(self, url: str, name: str):
        self.lines: queue.SimpleQueue[dict[str, Any] | BaseException | None] = queue.SimpleQueue()
        self._url = url
        self._name = name
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._closed = False
        self._thread = threading.Thread(target=self._read, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """End the connection, which ends the thread; the server notices at once."""
        with self._lock:
            self._closed = True
            for each in self._sockets:
                # Closing it here would pull it away from under the thread that reads it.
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
        self._thread.join(_END_SECONDS)

    def _read(self) -> None:
        try:
            client = opened(self._url, _SILENT_SECONDS, {"request": [self._traced]})
            with client:
                for each in client.pull(self._name, stream=True):
                    self.lines.put(each.model_dump(exclude_none=True))
            self.lines.put(None)
        except BaseException as error:
            self.lines.put(error)

    def _traced(self, request: Any) -> None:
        request.extensions["trace"] = self._connected

    def _connected(self, event: str, facts: dict[str, Any]) -> None:
        if event not in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            return
        opened = facts["return_value"].get_extra_info("socket")
        with self._lock:
            self._sockets.append(opened)
            if self._closed:
                with suppress(OSError):
                    opened.shutdown(socket.SHUT_RDWR)


def name_of(request: PullRequest) -> str:
    """The model as Ollama names it, with its tag; asks nobody.

    Raises:
        InvalidModelSpec: The request names something that Ollama does not have.
    """
    wanted = spec.parse(request.model)
    variant = wanted.variant
    if request.quantization and wanted.name.lower().startswith(("hf.co/", "huggingface.co/")):
        variant = request.quantization
    elif request.quantization and request.quantization != variant:
        raise InvalidModelSpec(
            "Ollama's models have their quantisation in the tag.",
            hint=f"Write it there, such as {wanted.name}:8b-instruct-q4_K_M@ollama; "
            f"{LIBRARY}/{wanted.name}/tags shows which there are.",
            data={"model": request.model, "quantization": request.quantization},
        )
    if request.revision or request.locked:
        raise InvalidModelSpec(
            "Ollama's models have no revisions: a name stands for what its library has now.",
            hint=f"Pull it without: %model_pull {wanted.name}:{variant or 'latest'}@ollama",
            data={"model": request.model},
        )
    return f"{wanted.name}:{variant or 'latest'}"
