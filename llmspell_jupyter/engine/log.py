"""The engine's log: what the engine that holds the lock writes, and why none could start."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import IO

from llmspell_jupyter.config import paths


def begin() -> None:
    """Write all output of this process to the log, with what it has printed so far.

    Call it with the engine's lock held, and only where the output is a file of whoever started
    this process: that file is empty afterwards. The log of the run before is kept.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    log = paths.engine_log()
    # There may be none; and Windows keeps one that a worker of the run before has open still.
    with suppress(OSError):
        log.replace(log.with_suffix(".log.1"))
    handle = _opened()
    output = sys.stderr.fileno()
    os.lseek(output, 0, os.SEEK_SET)
    while said := os.read(output, 64 * 1024):
        os.write(handle, said)
    os.ftruncate(output, 0)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(handle, stream.fileno())
    os.close(handle)


def of_start(output: IO[bytes]) -> str:
    """What an engine that could not start has said; from now on that is in the log, too.

    Args:
        output: The file to which its output went.
    """
    output.seek(0)
    said = output.read()
    if not said:
        # It got as far as to begin a log.
        return tail()
    handle = _opened()
    os.write(handle, said)
    os.close(handle)
    return said.decode("utf-8", "replace")


def tail(lines: int = 100) -> str:
    """The last lines of the log; empty when there are none."""
    try:
        text = paths.engine_log().read_text("utf-8", "replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


def _opened() -> int:
    return os.open(paths.engine_log(), os.O_WRONLY | os.O_CREAT | os.O_APPEND, paths.PRIVATE)
