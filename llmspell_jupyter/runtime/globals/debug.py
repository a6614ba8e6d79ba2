"""``Debug``: what a script wants to have noted."""

from __future__ import annotations

import json
import time
from collections import deque
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from llmspell_jupyter.errors import RequestError
from llmspell_jupyter.runtime.exports import ScriptGlobal, script

if TYPE_CHECKING:
    from llmspell_jupyter.runtime.runtime import Runtime

_LEVELS = ("trace", "debug", "info", "warn", "error")
_MOST_ENTRIES = 10_000


@dataclass(frozen=True, slots=True)
class _Entry:
    timestamp: float
    level: str
    message: str
    module: str | None
    metadata: Any = None


class Debug(ScriptGlobal):
    """Logs: entries from the level up are shown in the cell and kept for reading."""

    name = "Debug"

    def __init__(self, runtime: Runtime):
        self._runtime = runtime
        self._level = "info"
        self._enabled = True
        self._entries: deque[_Entry] = deque(maxlen=_MOST_ENTRIES)

    @script
    def log(self, level: Any, message: Any, module: Any = None) -> None:
        """Note a message at a level: trace, debug, info, warn or error."""
        self._note(_level(level), message, module)

    @script
    def trace(self, message: Any, module: Any = None) -> None:
        """Note at level trace."""
        self._note("trace", message, module)

    @script
    def debug(self, message: Any, module: Any = None) -> None:
        """Note at level debug."""
        self._note("debug", message, module)

    @script
    def info(self, message: Any, module: Any = None) -> None:
        """Note at level info."""
        self._note("info", message, module)

    @script
    def warn(self, message: Any, module: Any = None) -> None:
        """Note at level warn."""
        self._note("warn", message, module)

    @script
    def error(self, message: Any, module: Any = None) -> None:
        """Note at level error; the script goes on."""
        self._note("error", message, module)

    @script
    def logWithData(self, level: Any, message: Any, data: Any, module: Any = None) -> None:
        """Note a message together with a value."""
        self._note(_level(level), message, module, data)

    @script
    def setLevel(self, level: Any) -> bool:
        """Lowest level that is noted; false when there is no such level. Default info."""
        known = isinstance(level, str) and level.lower() in _LEVELS
        if known:
            self._level = level.lower()
        return known

    @script
    def getLevel(self) -> str:
        """Lowest level that is noted."""
        return self._level

    @script
    def setEnabled(self, enabled: Any) -> None:
        """False notes nothing."""
        self._enabled = bool(enabled)

    @script
    def isEnabled(self) -> bool:
        """Whether anything is noted."""
        return self._enabled

    @script
    def getCapturedEntries(self, limit: Any = None) -> Any:
        """``[{timestamp, level, message, module?, metadata?}]``, the last ``limit`` of them."""
        entries = list(self._entries)
        if isinstance(limit, int | float) and limit >= 0:
            entries = entries[len(entries) - min(int(limit), len(entries)) :]
        return [asdict(entry) for entry in entries]

    @script
    def clearCaptured(self) -> None:
        """Forget what was noted."""
        self._entries.clear()

    def _note(self, level: str, message: Any, module: Any, data: Any = None) -> None:
        if not self._enabled or _LEVELS.index(level) < _LEVELS.index(self._level):
            return
        text = message if isinstance(message, str) else json.dumps(message, default=repr)
        where = str(module) if module is not None else None
        self._entries.append(_Entry(time.time(), level, text, where, data))
        tail = "" if data is None else " " + json.dumps(data, default=repr, sort_keys=True)
        self._runtime.write(f"[{level.upper()}] {f'{where}: ' if where else ''}{text}{tail}\n")


def _level(level: Any) -> str:
    if isinstance(level, str) and level.lower() in _LEVELS:
        return level.lower()
    raise RequestError(f"Unknown log level {level!r}; there are {', '.join(_LEVELS)}.")


GLOBAL = Debug
