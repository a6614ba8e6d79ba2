"""Reaching an Ollama server, and what its errors mean."""

from __future__ import annotations

import ipaddress
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from llmspell_jupyter.config.escaping import quoted
from llmspell_jupyter.errors import LLMSpellError, ModelNotFound, NoSpace, PullError, Unreachable

if TYPE_CHECKING:
    import ollama

#: Where the models that Ollama can fetch are shown.
LIBRARY = "https://ollama.com/library"

#: How long a server may take to be reached.
CONNECT_SECONDS = 2.0


def opened(
    url: str, seconds: float, hooks: dict[str, list[Callable[..., Any]]] | None = None
) -> ollama.Client:
    """The library's client, which waits so many seconds for an answer."""
    import httpx
    import ollama

    return ollama.Client(
        url,
        timeout=httpx.Timeout(seconds, connect=CONNECT_SECONDS),
        # A proxy does not know the server on this machine.
        trust_env=not is_here(url),
        event_hooks=hooks or {},
    )


@contextmanager
def client(url: str, seconds: float, name: str = "") -> Iterator[ollama.Client]:
    """A client whose errors are ours; ``name`` is the model that it is asked of."""
    with errors(url, name), opened(url, seconds) as client:
        yield client


@contextmanager
def errors(url: str, name: str = "") -> Iterator[None]:
    """Raise errors of ours for the library's and its transport's."""
    try:
        yield
    except Exception as error:  # Every error of the library and its transport has one of ours.
        raise mapped(error, url, name) from None


def mapped(error: BaseException, url: str, name: str) -> LLMSpellError:
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
            f"Ollama's server at {url} broke off: {quoted(error)}.",
            hint="Type the same line again: it goes on where it was.",
            data={"url": url, "model": name},
        )
    return PullError(
        f"What answers at {url} is no Ollama: {quoted(error)}.",
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
    said = quoted(error.error)
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


def is_here(url: str) -> bool:
    """Whether an address is this machine's own."""
    host = urllib.parse.urlsplit(url).hostname or ""
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"
