"""What an Ollama server has, and pulls by it.

The server keeps its own files, of which it tells nothing but progress. Every function raises
``Unreachable`` when none answers within 2 seconds.
"""

from __future__ import annotations

import ipaddress
import queue
import re
import socket
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmspell_jupyter.errors import (
    Interrupted,
    InvalidModelSpec,
    LLMSpellError,
    ModelNotFound,
    NoSpace,
    PullError,
    Unreachable,
)
from llmspell_jupyter.models import ollama_progress, spec
from llmspell_jupyter.types import ModelInfo, PullProgress, PullRequest

if TYPE_CHECKING:
    import ollama

LIBRARY = "https://ollama.com/library"

_CONNECT_SECONDS = 2.0
_ANSWER_SECONDS = 10.0
# While it checks a large file it says nothing; longer than this nothing is going on.
_SILENT_SECONDS = 600.0
# How long it may be silent before the user is told.
_QUIET_SECONDS = 15.0
_LOOK_SECONDS = 0.05
_REPORT_SECONDS = 0.1
# A thread that is still connecting ends as soon as it has; nobody waits for it.
_END_SECONDS = 0.2

_COUNT = re.compile(r"(\d+(?:\.\d+)?)\s*([KMBT]?)", re.IGNORECASE)
_SCALE = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}


@dataclass(frozen=True, slots=True)
class Running:
    """A model in the server's memory.

    Attributes:
        id: Its name with tag.
        size_bytes: Memory that it takes, and how much of it is a GPU's.
        leaves_at: When it leaves, seconds since the epoch; None is never or unknown.
        context_size: Tokens; None when the server does not say.
    """

    id: str
    size_bytes: int
    gpu_bytes: int
    leaves_at: float | None = None
    context_size: int | None = None


def version(url: str) -> str:
    """The server's version."""
    import httpx

    with _errors(url):
        answer = httpx.get(
            f"{url}/api/version", timeout=_CONNECT_SECONDS, trust_env=not _is_here(url)
        )
        answer.raise_for_status()
        return str(answer.json()["version"])


def tags(url: str) -> list[ModelInfo]:
    """The models that the server has."""
    with _client(url, _CONNECT_SECONDS) as client:
        found = client.list().models
    return [_info(each) for each in found if each.model]


def running(url: str) -> list[Running]:
    """The models that are in the server's memory."""
    with _client(url, _CONNECT_SECONDS) as client:
        found = client.ps().models
    return [
        Running(
            id=str(each.model or each.name),
            size_bytes=int(each.size or 0),
            gpu_bytes=int(each.size_vram or 0),
            leaves_at=each.expires_at.timestamp() if each.expires_at else None,
            context_size=each.context_length,
        )
        for each in found
    ]


def show(url: str, name: str) -> dict[str, Any]:
    """What the server tells about a model: JSON values, as its API names them.

    Raises:
        ModelNotFound: It does not have it.
    """
    with _client(url, _ANSWER_SECONDS, name) as client:
        shown: dict[str, Any] = client.show(name).model_dump(mode="json", by_alias=True)
    return shown


def delete(url: str, name: str) -> None:
    """Take a model away from the server.

    Raises:
        ModelNotFound: It does not have it.
    """
    with _client(url, _ANSWER_SECONDS, name) as client:
        client.delete(name)


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
    name = _name(request)
    url = request.sources.ollama_url
    if request.sources.offline:
        raise Unreachable(
            f"{name} is not fetched: this profile works offline.",
            hint="Type: %model_list to see the models that are here.",
            data={"offline": True},
        )
    course = ollama_progress.Course(name)
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
                raise _mapped(line, url, name) from None
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
            client = _open(self._url, _SILENT_SECONDS, {"request": [self._traced]})
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


def _open(
    url: str, seconds: float, hooks: dict[str, list[Callable[..., Any]]] | None = None
) -> ollama.Client:
    import httpx
    import ollama

    return ollama.Client(
        url,
        timeout=httpx.Timeout(seconds, connect=_CONNECT_SECONDS),
        # A proxy does not know the server on this machine.
        trust_env=not _is_here(url),
        event_hooks=hooks or {},
    )


@contextmanager
def _client(url: str, seconds: float, name: str = "") -> Iterator[ollama.Client]:
    with _errors(url, name), _open(url, seconds) as client:
        yield client


@contextmanager
def _errors(url: str, name: str = "") -> Iterator[None]:
    try:
        yield
    except Exception as error:  # Every error of the library and its transport has one of ours.
        raise _mapped(error, url, name) from None


def _mapped(error: BaseException, url: str, name: str) -> LLMSpellError:
    """The error of ours that stands for one of the library's or of its transport's."""
    import httpx
    import ollama

    if isinstance(error, LLMSpellError):
        return error
    if isinstance(error, ollama.ResponseError):
        return _said(error, name)
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | ConnectionError):
        return _unreachable(url, "nothing answers there")
    if isinstance(error, httpx.TimeoutException):
        return _unreachable(url, "it does not answer in time")
    if isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol):
        return _unreachable(url, "that is no address")
    if isinstance(error, httpx.HTTPError | OSError):
        return PullError(
            f"Ollama's server at {url} broke off: {_shown(error)}.",
            hint="Type the same line again: it goes on where it was.",
            data={"url": url, "model": name},
        )
    return PullError(
        f"What answers at {url} is no Ollama: {_shown(error)}.",
        hint="Set OLLAMA_HOST to the address of an Ollama server.",
        data={"url": url},
    )


def _unreachable(url: str, why: str) -> Unreachable:
    return Unreachable(
        f"Ollama cannot be reached at {url}: {why}.",
        hint=(
            "Start it in a terminal with: ollama serve (it comes from https://ollama.com/download)"
            "; if it runs elsewhere, set OLLAMA_HOST."
        ),
        data={"url": url},
    )


def _said(error: ollama.ResponseError, name: str) -> LLMSpellError:
    """What the server says, as an error of its kind."""
    said = _shown(error.error)
    low = said.lower()
    data = {"model": name, "status": error.status_code}
    if error.status_code == 404 or "does not exist" in low or "not found" in low:
        return ModelNotFound(
            f"Ollama has no model {name}: {said}.",
            hint=f"Its library is at {LIBRARY}; %model_list ollama shows what it has.",
            data=data,
        )
    if "no space left" in low:
        return NoSpace(
            f"Ollama's disk is full: {said}.",
            hint="Make room there, such as with: ollama rm NAME; then pull again.",
            data=data,
        )
    return PullError(
        f"Ollama reports: {said}.",
        hint="Type the same line again: it goes on where it was. Its log says more.",
        data=data,
    )


def _name(request: PullRequest) -> str:
    """The model as Ollama names it, with its tag.

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


def _info(model: ollama.ListResponse.Model) -> ModelInfo:
    details = model.details
    made: datetime | None = model.modified_at
    return ModelInfo(
        id=str(model.model),
        backend="ollama",
        path=Path(),
        format=(details.format if details and details.format else "GGUF").upper(),
        size_bytes=int(model.size or 0),
        modified_at=int(made.timestamp()) if made else 0,
        architecture=(details.family if details else None) or None,
        quantization=(details.quantization_level if details else None) or None,
        parameter_count=_count(details.parameter_size if details else None),
        store="ollama",
        revision=model.digest,
    )


def _count(text: str | None) -> int | None:
    """A number of weights such as ``8.0B``."""
    match = _COUNT.fullmatch((text or "").strip())
    return round(float(match[1]) * _SCALE[match[2].upper()]) if match else None


def _is_here(url: str) -> bool:
    """Whether an address is this machine's own."""
    host = urllib.parse.urlsplit(url).hostname or ""
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def _shown(text: object, most: int = 200) -> str:
    """What somebody else wrote, on one line and short."""
    line = " ".join(str(text).split()) or type(text).__name__
    line = line if line.isprintable() else ascii(line)[1:-1]
    return (line if len(line) <= most else line[: most - 3] + "...").rstrip(".")
