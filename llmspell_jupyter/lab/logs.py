"""Log lines of what pages sent: on one line each, and short."""

from __future__ import annotations

import logging
import traceback
from collections.abc import MutableMapping
from typing import Any

from llmspell_jupyter.config import redaction

# Of the 1,024 that a line may have; the rest is for time and name.
_LONGEST = 900


class Bounded(logging.LoggerAdapter[logging.Logger]):
    """A logger that writes whatever it is given as lines that nobody can forge or flood."""

    def log(self, level: int, msg: object, *args: Any, **kwargs: Any) -> None:
        """Write one line, and one for each line of a traceback."""
        if not self.isEnabledFor(level):
            return
        lines = [str(msg) % args if args else str(msg)]
        error = kwargs.pop("exc_info", None)
        if isinstance(error, BaseException):
            lines += "".join(traceback.format_exception(error)).splitlines()
        for line in lines:
            self.logger.log(level, "%s", bounded(line))

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        """Nothing is added."""
        return msg, kwargs


def bounded(text: str) -> str:
    """The text on one line of ASCII, cut."""
    shown = redaction.printable(text, _LONGEST).encode("ascii", "backslashreplace").decode()
    return shown if len(shown) <= _LONGEST else shown[: _LONGEST - 3] + "..."
