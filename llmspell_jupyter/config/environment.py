"""Environment variables. No other module reads one."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeVar

from llmspell_jupyter.errors import ConfigError

_N = TypeVar("_N", int, float)

#: Seconds without a request after which an engine that started by itself ends.
DEFAULT_IDLE_SECONDS = 1800.0


def render() -> Literal["auto", "plain"]:
    """``LLMSPELL_RENDER``: ``plain`` shows no live line, so that outputs repeat exactly."""
    value = os.environ.get("LLMSPELL_RENDER", "auto").strip().lower() or "auto"
    if value == "plain":
        return "plain"
    if value == "auto":
        return "auto"
    raise _bad("LLMSPELL_RENDER", value, "auto or plain")


def idle_seconds() -> float:
    """``LLMSPELL_ENGINE_IDLE_SECONDS``: 0 or more; 0 never ends it. Default 1800."""
    return _number("LLMSPELL_ENGINE_IDLE_SECONDS", float, DEFAULT_IDLE_SECONDS, 0)


def transport() -> Literal["unix", "tcp"]:
    """``LLMSPELL_ENGINE_TRANSPORT``: ``unix`` wherever there are Unix sockets, else ``tcp``."""
    default = "tcp" if os.name == "nt" else "unix"
    value = os.environ.get("LLMSPELL_ENGINE_TRANSPORT", default).strip().lower() or default
    if value == "tcp":
        return "tcp"
    if value == "unix" and os.name != "nt":
        return "unix"
    raise _bad("LLMSPELL_ENGINE_TRANSPORT", value, "tcp" if os.name == "nt" else "unix or tcp")


def queue_limit() -> int:
    """``LLMSPELL_ENGINE_QUEUE_LIMIT``: requests that may wait for one model. Default 64."""
    return _number("LLMSPELL_ENGINE_QUEUE_LIMIT", int, 64, 1)


def model_path() -> tuple[Path, ...]:
    """``LLMSPELL_MODEL_PATH``: folders to search for models first, separated like ``PATH``."""
    parts = os.environ.get("LLMSPELL_MODEL_PATH", "").split(os.pathsep)
    return tuple(Path(part).expanduser() for part in parts if part)


def owner_pid() -> int:
    """Process on whose behalf this one runs: the Jupyter server of a kernel, else itself."""
    server = os.environ.get("JPY_PARENT_PID", "")
    number = int(server) if server.isascii() and server.isdecimal() else 0
    return number if number > 1 else os.getpid()


def _number(name: str, kind: Callable[[str], _N], default: _N, least: _N) -> _N:
    text = os.environ.get(name, "").strip()
    if not text:
        return default
    try:
        value = kind(text)
    except ValueError:
        value = None
    if value is None or not least <= value < float("inf"):
        raise _bad(name, text, f"a number of at least {least}")
    return value


def _bad(name: str, value: str, allowed: str) -> ConfigError:
    return ConfigError(
        f"{name} is {value[:80]!r}; it can be {allowed}.",
        hint=f"Unset it, or set it before Jupyter starts: export {name}=...",
        data={"variable": name},
    )
