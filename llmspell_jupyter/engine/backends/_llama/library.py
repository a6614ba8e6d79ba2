"""llama-cpp-python itself: imported at first use, told where to log, and how to install it."""

from __future__ import annotations

import functools
import logging
import os
import shlex
import sys
from collections import deque
from typing import Any

from llmspell_jupyter.errors import BackendMissing

_log = logging.getLogger(__name__)

# As ggml.h numbers them, which is not what llama_cpp's comments say.
_DEBUG, _ERROR, _CONTINUED = 1, 4, 5


def install_line(flags: str = "-DGGML_NATIVE=OFF -DLLAVA_BUILD=OFF") -> str:
    """Shell command that installs or rebuilds llama-cpp-python for the running interpreter.

    Args:
        flags: For CMake. These build for every processor of this kind: a build for the processor
            at hand can crash in its first decode, and one without vision needs half the time.
    """
    python = shlex.quote(sys.executable or "python")
    return (
        f'CMAKE_ARGS="{flags}" '
        f'{python} -m pip install --force-reinstall --no-cache-dir "llama-cpp-python"'
    )


class NativeLog:
    """Sends what llama.cpp logs to Python's logging and keeps the last lines.

    llama.cpp has one log for the whole process; the object must live as long as the library.
    """

    def __init__(self, lib: Any):
        self._errors: deque[str] = deque(maxlen=5)
        self._lines: deque[str] = deque(maxlen=200)
        self._level = 0
        self._line = ""
        self._callback = lib.llama_log_callback(self._take)
        lib.llama_log_set(self._callback, None)

    def take_errors(self) -> str:
        """The last errors since the last call, oldest first; may be empty."""
        # Each line begins with the name of a C function; the last only says that it failed.
        causes = [line.partition(": ")[2] or line for line in self._errors]
        self._errors.clear()
        return "; ".join(cause for cause in causes if cause != "failed to load model")

    def said(self, *texts: str) -> bool:
        """Whether one of the last lines, those for debugging apart, holds all these texts."""
        return any(all(text in line for text in texts) for line in self._lines)

    def forget(self) -> None:
        """Start anew."""
        self._errors.clear()
        self._lines.clear()

    def _take(self, level: int, text: bytes | None, _: Any) -> None:
        if level != _CONTINUED:
            self._flush()
            self._level = level
        self._line += (text or b"").decode("utf-8", "replace")
        if self._line.endswith("\n"):
            self._flush()

    def _flush(self) -> None:
        line, self._line = self._line.strip(), ""
        if not line:
            return
        if self._level != _DEBUG:
            self._lines.append(line)
        if self._level == _ERROR:
            self._errors.append(line)
        _log.log(logging.WARNING if self._level == _ERROR else logging.DEBUG, "%s", line)


@functools.cache
def library() -> tuple[Any, NativeLog]:
    """The library and its log.

    Raises:
        BackendMissing: It is not installed or cannot be loaded.
    """
    # On an abort ggml would fork children to print a backtrace, which outlive this process.
    os.environ["GGML_NO_BACKTRACE"] = "1"
    try:
        import llama_cpp
    except (ImportError, OSError, RuntimeError) as error:
        # It raises RuntimeError or FileNotFoundError when its native part is broken or absent.
        raise BackendMissing(
            f"llama-cpp-python, which runs GGUF models, cannot be imported: {error}",
            hint=f"Type in a terminal: {install_line()}",
            data={"install": install_line()},
        ) from error
    lib: Any = llama_cpp
    log = NativeLog(lib)
    lib.llama_backend_init()
    return lib, log
