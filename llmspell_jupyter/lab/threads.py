"""Blocking calls beside the server's event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

_T = TypeVar("_T")


class Threads:
    """Runs blocking calls, at most so many at a time; others wait for their turn.

    Their threads keep no server alive: what waits for a deaf engine must not delay its end.

    Args:
        most: How many run at a time.
    """

    def __init__(self, most: int):
        self._seats = asyncio.Semaphore(most)

    async def run(self, work: Callable[[], _T]) -> _T:
        """What ``work`` returns or raises. It goes on when whoever waits is gone."""
        await self._seats.acquire()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[_T] = loop.create_future()

        def end(settle: Callable[[Any], None], outcome: Any) -> None:
            self._seats.release()
            if not future.done():
                settle(outcome)

        def run() -> None:
            try:
                settle, outcome = future.set_result, work()
            except BaseException as error:
                settle, outcome = future.set_exception, error  # type: ignore[assignment]
            # The server may have ended meanwhile.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(end, settle, outcome)

        threading.Thread(target=run, name="llmspell-lab", daemon=True).start()
        return await future
