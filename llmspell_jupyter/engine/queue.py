"""Who is next: one queue for each loaded model, first come, first served."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import TracebackType

from llmspell_jupyter.errors import EngineBusy


class Queue:
    """Requests that wait for one model. Use from one event loop.

    Args:
        limit: Most requests that may wait; the one that runs is not counted.
    """

    def __init__(self, limit: int):
        self._limit = limit
        self._tickets: list[Ticket] = []

    def __len__(self) -> int:
        return len(self._tickets)

    def join(self) -> Ticket:
        """Take a place; use the ticket as a context manager, which gives it back.

        Raises:
            EngineBusy: The queue is full.
        """
        if len(self._tickets) > self._limit:
            raise EngineBusy(
                f"{self._limit} requests are waiting for this model already.",
                hint="Run the cell again in a while; %llmspell_status shows the queue.",
                data={"waiting": self._limit},
            )
        ticket = Ticket(self)
        self._tickets.append(ticket)
        return ticket

    def _leave(self, ticket: Ticket) -> None:
        self._tickets.remove(ticket)
        for other in self._tickets:
            other._moved.set()

    def _ahead_of(self, ticket: Ticket) -> int:
        return self._tickets.index(ticket)


class Ticket:
    """A place in a queue."""

    def __init__(self, queue: Queue):
        self._queue = queue
        self._moved = asyncio.Event()

    def __enter__(self) -> Ticket:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._queue._leave(self)

    async def wait(self) -> AsyncIterator[int]:
        """The number of requests ahead, whenever it changes; ends when there is none."""
        while ahead := self._queue._ahead_of(self):
            self._moved.clear()
            yield ahead
            await self._moved.wait()
