"""Who is next: one queue before each way of loading a model, first come, first served."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import TracebackType

from llmspell_jupyter.errors import EngineBusy


class Queue:
    """Requests that wait for one model. Use from one event loop.

    Args:
        limit: Most requests that may wait; those that run are not counted.
        seats: Requests that run at a time.
    """

    def __init__(self, limit: int, seats: int = 1):
        self._limit = limit
        self._seats = seats
        self._tickets: list[Ticket] = []

    def __len__(self) -> int:
        return len(self._tickets)

    def join(self) -> Ticket:
        """Take a place; use the ticket as a context manager, which gives it back.

        Raises:
            EngineBusy: The queue is full.
        """
        if len(self._tickets) >= self._limit + self._seats:
            raise EngineBusy(
                f"{self._limit} requests are waiting for this model already.",
                hint="Run the cell again in a while; %llmspell_status shows the queue.",
                data={"waiting": self._limit},
            )
        ticket = Ticket(self)
        self._tickets.append(ticket)
        return ticket

    def pass_by(self) -> Ticket:
        """A ticket of somebody who neither waits nor takes a seat."""
        return Ticket(self)

    def _leave(self, ticket: Ticket) -> None:
        if ticket not in self._tickets:
            return
        self._tickets.remove(ticket)
        for other in self._tickets:
            other._moved.set()

    def _ahead_of(self, ticket: Ticket) -> int:
        if ticket not in self._tickets:
            return 0
        return max(0, self._tickets.index(ticket) - self._seats + 1)

    @property
    def waiting(self) -> int:
        """Requests that do not run yet."""
        return max(0, len(self._tickets) - self._seats)


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
        """How many have to end first, whenever it changes; ends when there is a seat."""
        while ahead := self._queue._ahead_of(self):
            self._moved.clear()
            yield ahead
            await self._moved.wait()
