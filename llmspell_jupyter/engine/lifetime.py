"""When an engine ends by itself: after idle time, and when those it serves are gone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import psutil
from starlette.types import ASGIApp, Receive, Scope, Send

from llmspell_jupyter.engine.connection import LOOK

# Looking is cheap and nobody waits for it; a gone server should not leave memory taken for long.
_LOOK_SECONDS = 1.0

_LOOK = LOOK.lower().encode()


class Lifetime:
    """Watches for reasons to end. ASGI middleware, so that it sees every request.

    A request says in ``X-LLMSpell-Owner`` on behalf of which process it is made: the Jupyter
    server of a kernel, or the program itself.

    Args:
        app: The application behind it.
        idle_seconds: End after so long without a request; 0 never does.
        owned: End when every owner seen so far has ended. An engine that a user started by hand
            stays without owners.
        stop: Called once, when it is time.
        working: Whether there is work that nobody has to wait for, such as a download.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        idle_seconds: float,
        owned: bool,
        stop: Callable[[], None],
        working: Callable[[], bool] = lambda: False,
    ):
        self._app = app
        self._idle_seconds = idle_seconds
        self._owned = owned
        self._stop = stop
        self._working = working
        self._owners: dict[int, psutil.Process] = {}
        self._open = 0
        self._last = time.monotonic()

    def add_owner(self, pid: int) -> None:
        """Stay at least as long as this process runs."""
        try:
            known = self._owners.get(pid)
            if known is None or not known.is_running():
                self._owners[pid] = psutil.Process(pid)
        except psutil.Error:
            self._owners.pop(pid, None)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count the request and pass it on."""
        headers = dict(scope["headers"]) if scope["type"] == "http" else None
        if headers is None or _LOOK in headers:
            await self._app(scope, receive, send)
            return
        owner = headers.get(b"x-llmspell-owner", b"")
        if self._owned and owner.isdigit() and len(owner) < 10:
            self.add_owner(int(owner))
        self._open += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._open -= 1
            self._last = time.monotonic()

    async def watch(self) -> None:
        """Return after calling ``stop``."""
        # Other processes set no events when they end.
        while not (self._is_abandoned() or self._is_idle()):  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_SECONDS)
        self._stop()

    def _is_idle(self) -> bool:
        if self._working():
            self._last = time.monotonic()
        quiet = time.monotonic() - self._last
        return self._idle_seconds > 0 and not self._open and quiet > self._idle_seconds

    def _is_abandoned(self) -> bool:
        self._owners = {pid: each for pid, each in self._owners.items() if _alive(each)}
        return self._owned and not self._owners


def _alive(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False
