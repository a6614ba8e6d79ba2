"""Calls to the engine that block, from any thread."""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections.abc import Awaitable, Callable
from concurrent.futures import CancelledError, Future
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import anyio
from anyio.from_thread import BlockingPortal

from llmspell_jupyter.engine import exchange, start
from llmspell_jupyter.engine.exchange import Ask
from llmspell_jupyter.errors import Interrupted

#: Waiting in short turns lets Ctrl-C through on systems where a lock cannot be interrupted.
TURN_SECONDS = 0.2

_T = TypeVar("_T")


class Calls:
    """Requests on an event loop of their own in a background thread.

    They work the same from a kernel's main thread, from the Lua thread, from a plain program and
    from a child that it forked, and can be cancelled at any point of their way.

    Attributes:
        stoppable: Surrounds each wait on the thread that waits, and is given what ends that wait,
            which may be called from any thread, at once as well: the wait then raises
            ``Interrupted``. Jobs that the engine does whether or not anybody waits, such as
            downloads, go on. By default nothing but Ctrl-C ends a wait.
    """

    def __init__(self) -> None:
        self.stoppable: Callable[[Callable[[], object]], AbstractContextManager[None]] = lambda _: (
            nullcontext()
        )
        self._begin_afresh()
        _all.add(self)

    def _begin_afresh(self) -> None:
        self._lock = threading.Lock()
        self._loop: _Loop | None = None

    def close(self) -> None:
        """Cancel what is under way and end the background thread; happens by itself at exit."""
        with self._lock:
            loop, self._loop = self._loop, None
            if loop is not None:
                atexit.unregister(self.close)
                loop.end()

    def _get(self, path: str, seconds: float) -> dict[str, Any]:
        """What the engine, which is started if need be, answers within so many seconds."""
        return self._values(Ask("GET", path, seconds=seconds))

    def _post(self, path: str, body: dict[str, Any], seconds: float) -> dict[str, Any]:
        """The same, for a request with a body."""
        return self._values(Ask("POST", path, body, seconds))

    def _values(self, ask: Ask) -> dict[str, Any]:
        told = self._wait(lambda: exchange.values(start.find_or_start, ask))
        assert told is not None
        return told

    def _wait(self, ask: Callable[[], Awaitable[_T]]) -> _T:
        future = self._ready_portal().start_task_soon(ask)
        try:
            with self.stoppable(future.cancel):
                return _result(future)
        finally:
            future.cancel()

    def _ready_portal(self) -> BlockingPortal:
        with self._lock:
            if self._loop is None:
                self._loop = _Loop()
                atexit.register(self.close)
            return self._loop.portal


_all: weakref.WeakSet[Calls] = weakref.WeakSet()


def _begin_afresh() -> None:
    for each in _all:
        each._begin_afresh()


if hasattr(os, "register_at_fork"):
    # A forked child has the objects and locks of its parent, and none of its threads.
    os.register_at_fork(after_in_child=_begin_afresh)


class _Loop:
    """An event loop in a thread of its own.

    Not anyio's ``start_blocking_portal``, whose end a forked child would wait for in vain when it
    lets go of it.

    Attributes:
        portal: Runs what is asked of it there.
    """

    def __init__(self) -> None:
        ready: Future[BlockingPortal] = Future()
        self._thread = threading.Thread(
            target=_run_loop, args=(ready,), name="llmspell", daemon=True
        )
        self._thread.start()
        self.portal = ready.result()

    def end(self) -> None:
        """Cancel what is under way and wait for the thread's end."""
        self.portal.call(self.portal.stop, True)
        self._thread.join()


def _run_loop(ready: Future[BlockingPortal]) -> None:
    async def serve() -> None:
        async with BlockingPortal() as portal:
            ready.set_result(portal)
            await portal.sleep_until_stopped()

    try:
        anyio.run(serve)
    except BaseException as error:
        if ready.done():
            raise
        ready.set_exception(error)


def _result(future: Future[_T]) -> _T:
    done = threading.Event()
    future.add_done_callback(lambda _: done.set())
    while not done.wait(TURN_SECONDS):
        pass
    try:
        return future.result()
    except CancelledError:
        raise Interrupted("Stopped while it waited for the engine.") from None
