"""Work that may take long, beside an event loop that must not wait for it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")


async def in_daemon_thread(
    work: Callable[_P, _T], /, *arguments: _P.args, **named: _P.kwargs
) -> _T:
    """Run work on a thread of its own, and give what it returns or raises.

    For all that waits for a server or computes for seconds. asyncio's own threads are few, and
    requests wait for them; they also have to end before the process can, which would keep the
    engine's lock. Whoever stops waiting leaves the work to its end.

    Raises:
        RuntimeError: No thread can be started.
    """
    outcome: Future[_T] = Future()

    def run() -> None:
        if not outcome.set_running_or_notify_cancel():
            return
        try:
            outcome.set_result(work(*arguments, **named))
        except BaseException as error:
            outcome.set_exception(error)

    name = f"llmspell-{getattr(work, '__name__', 'work')}"
    threading.Thread(target=run, name=name, daemon=True).start()
    return await asyncio.wrap_future(outcome)
