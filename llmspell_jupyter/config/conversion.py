"""The text of an environment variable as a value."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

from llmspell_jupyter.config.leaves import Leaf

_TRUE = ("true", "1", "yes", "on")
_FALSE = ("false", "0", "no", "off")


def converted(leaf: Leaf, text: str) -> Any:
    """A value of the key's type, range unchecked.

    Raises:
        ValueError: The text cannot be one.
    """
    kind = get_origin(leaf.annotation) or leaf.annotation
    if kind is bool:
        if text.lower() not in _TRUE + _FALSE:
            raise ValueError
        return text.lower() in _TRUE
    if kind is int or kind is float:
        return kind(text)
    if kind is Literal:
        words = {_plain(each): each for each in get_args(leaf.annotation)}
        return words.get(_plain(text), text)
    if kind is tuple:
        return [part.strip() for part in text.split(_separator(leaf)) if part.strip()]
    if kind is dict:
        pairs = [part.partition("=") for part in text.split(",") if part.strip()]
        if any(not sign for _, sign, _ in pairs):
            raise ValueError
        return {name.strip(): value.strip() for name, _, value in pairs}
    return text


def written(leaf: Leaf, value: Any) -> str:
    """The text of a number, a text or a list for a variable; ``converted`` is the inverse."""
    return _separator(leaf).join(value) if isinstance(value, list | tuple) else str(value)


def parts(variable: str, text: str) -> Iterator[tuple[str, str]]:
    """Keys that a variable of several parts sets, as rs-llmspell reads it."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if variable == "LLMSPELL_DEBUG_MODULES":
        # +workflow.*,-agent.executor
        for sign, key in (("+", "enabled"), ("-", "disabled")):
            chosen = [part[1:] for part in parts if part.startswith(sign)]
            if sign == "+":
                chosen += [part for part in parts if part[0] not in "+-"]
            if chosen:
                yield f"debug.module_filters.{key}", ",".join(chosen)
        return
    # stdout,colored,json,file:/path/to/debug.log
    yield "debug.output.stdout", str("stdout" in parts).lower()
    yield "debug.output.colored", str("colored" in parts).lower()
    for part in parts:
        if part.startswith("file:"):
            yield "debug.output.file.path", part.removeprefix("file:")
        elif part == "buffer":
            yield "debug.output.buffer.enabled", "true"
        elif part not in ("stdout", "colored"):
            yield "debug.output.format", part


def address(text: str) -> str:
    """The address of a server, from what ``OLLAMA_HOST`` may say: ``host``, ``host:port``, URL."""
    scheme, sign, rest = text.rpartition("://")
    host, slash, path = rest.partition("/")
    # A server that listens everywhere is reached here.
    host = host.replace("0.0.0.0", "127.0.0.1") or "127.0.0.1"
    if host.startswith(":"):
        host = f"127.0.0.1{host}"
    if not sign and ":" not in host.rpartition("]")[2]:
        host += ":11434"
    return f"{scheme or 'http'}://{host}{slash}{path}".rstrip("/")


def _separator(leaf: Leaf) -> str:
    return os.pathsep if leaf.separator == "PATH" else leaf.separator


def _plain(word: str) -> str:
    # rs-llmspell writes inner_product in a variable and innerproduct in a file.
    return word.lower().replace("_", "").replace("-", "")
