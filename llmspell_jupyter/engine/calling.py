"""Calls to the engine that block, from any thread."""

from __future__ import annotations

import atexit
import json
import os
import threading
import weakref
from collections.abc import Awaitable, Callable
from concurrent.futures import CancelledError, Future
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import anyio
import httpx
from anyio.from_thread import BlockingPortal

from llmspell_jupyter.engine import start
from llmspell_jupyter.engine.connection import Connection
from llmspell_jupyter.engine.generation import TURN_SECONDS, refusal
from llmspell_jupyter.errors import SEE_LOGS, EngineDied, Interrupted

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

    def _post(self, path: str, body: dict[str, Any], seconds: float) -> dict[str, Any]:
        """Ask the engine, which is started if need be; its answer within so many seconds."""

        async def ask() -> dict[str, Any]:
            return await post(await start.find_or_start(), path, body, seconds)

        return self._wait(ask)

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


async def get(connection: Connection, path: str) -> dict[str, Any]:
    """What this engine answers to a question."""
    async with start.http_client(connection) as client:
        return _value(await client.get(path))


async def post(
    connection: Connection, path: str, body: dict[str, Any], seconds: float
) -> dict[str, Any]:
    """What this engine answers to a request, within so many seconds.

    Raises:
        EngineDied: It ended meanwhile.
    """
    async with start.http_client(connection) as client:
        try:
            return _value(await client.post(path, **content(body), timeout=seconds))
        except httpx.TransportError as error:
            silent = isinstance(error, httpx.TimeoutException)
            how = f"did not answer within {seconds:.0f} s" if silent else "ended while it worked"
            raise EngineDied(
                f"The engine (process {connection.pid}) {how}.",
                hint=SEE_LOGS,
                data={"pid": connection.pid},
            ) from None


def content(body: dict[str, Any] | None) -> dict[str, Any]:
    """Arguments of httpx that send this body."""
    if body is None:
        return {}
    # Not httpx's json, which fails on what the engine refuses with a reason: NaN, and halves of
    # characters.
    return {"content": json.dumps(body), "headers": {"Content-Type": "application/json"}}


def _value(response: httpx.Response) -> dict[str, Any]:
    if response.is_error:
        raise refusal(response)
    value: dict[str, Any] = response.json()
    return value
