"""The queue before a model: who may wait, who has a seat, and what those who wait are told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any

from llmspell_jupyter.engine.fairness import Request, ServiceClass, Turns
from llmspell_jupyter.errors import EngineBusy


class Queue:
    """Requests that wait for one model. Use from one event loop.

    A free seat is taken at once while anybody waits; ``fairness`` says by whom.

    Args:
        limit: Most requests that may wait; those that run are not counted.
        seats: Requests that run at a time.
        client_limit: Most requests of one client that may wait; None for ``limit``.
    """

    def __init__(self, limit: int, seats: int = 1, client_limit: int | None = None):
        self._limit = limit
        self._seats = seats
        self._client_limit = limit if client_limit is None else client_limit
        self._turns = Turns()
        self._tickets: dict[Request, Ticket] = {}

    def __len__(self) -> int:
        return len(self._tickets)

    def join(self, client: str = "?", service: ServiceClass = ServiceClass.INTERACTIVE) -> Ticket:
        """Take a place; use the ticket as a context manager, which gives it back.

        Args:
            client: Who asks, such as ``kernel 4711``. All its requests share what one client gets.
            service: How much it waits for the answer; a client has a share in each class.

        Raises:
            EngineBusy: The queue is full, or this client's part of it.
        """
        if self.running == self._seats:
            self._refuse_too_many(client)
        request = self._turns.join(client, service)
        ticket = self._tickets[request] = Ticket(self, request)
        self._seat()
        return ticket

    def pass_by(self) -> Ticket:
        """A ticket of somebody who neither waits nor takes a seat, and is charged nothing."""
        return Ticket(self, None)

    @property
    def running(self) -> int:
        """Requests that have a seat."""
        return sum(len(line.running) for line in self._turns)

    @property
    def waiting(self) -> int:
        """Requests that do not run yet."""
        return len(self) - self.running

    def snapshot(self) -> dict[str, Any]:
        """The queue as JSON values.

        ``tokens`` of a client are those charged since it came; a client that has left is listed
        until others have had as much.
        """
        clients: dict[str, dict[str, int]] = {}
        for line in self._turns:
            client = clients.setdefault(line.client, {"waiting": 0, "running": 0, "tokens": 0})
            client["waiting"] += len(line.waiting)
            client["running"] += len(line.running)
            client["tokens"] += line.tokens
        return {
            "waiting": self.waiting,
            "running": self.running,
            "limit": self._limit,
            "client_limit": self._client_limit,
            "seats": self._seats,
            "clients": [{"client": name, **counts} for name, counts in clients.items()],
        }

    def _refuse_too_many(self, client: str) -> None:
        own = sum(len(line.waiting) for line in self._turns if line.client == client)
        facts = {"waiting": self.waiting, "client_waiting": own}
        hint = "Run the cell again in a while; %llmspell_status shows the queue."
        if self.waiting >= self._limit:
            raise EngineBusy(
                f"{self.waiting} requests are waiting for this model already, "
                f"{own} of them yours ({client}); at most {self._limit} may.",
                hint=hint,
                data={"full": "queue", "limit": self._limit, **facts},
            )
        if own >= self._client_limit:
            raise EngineBusy(
                f"{own} of your requests ({client}) are waiting for this model already; "
                f"at most {self._client_limit} of one client may.",
                hint=hint,
                data={"full": "client", "limit": self._client_limit, **facts},
            )

    def _charge(self, request: Request, tokens: int) -> None:
        if request in self._tickets and self._turns.charge(request, tokens):
            self._tell()

    def _leave(self, request: Request) -> None:
        ticket = self._tickets.pop(request, None)
        if ticket is None:
            return
        ticket._move(0)
        self._turns.leave(request)
        self._seat()

    def _seat(self) -> None:
        while self.running < self._seats and (request := self._turns.start()):
            self._tickets[request]._move(0)
        self._tell()

    def _tell(self) -> None:
        for place, request in enumerate(self._turns.order(), start=1):
            self._tickets[request]._move(place)


class Ticket:
    """A place in a queue."""

    def __init__(self, queue: Queue, request: Request | None):
        self._queue = queue
        self._request = request
        self._place = 0
        self._moved = asyncio.Event()

    def __enter__(self) -> Ticket:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._request is not None:
            self._queue._leave(self._request)

    async def wait(self) -> AsyncIterator[int]:
        """Wait for a seat.

        Yields:
            How many answers have to end first, whenever that changes: those that start earlier
            and one more that leaves its seat. It holds while nobody comes or goes and answers
            cost what is expected; others may also move ahead.
        """
        told = 0
        while place := self._place:
            self._moved.clear()
            if place != told:
                told = place
                yield place
            await self._moved.wait()

    def charge(self, tokens: int) -> None:
        """Charge what was read or written for this request; nothing once the ticket is back.

        Args:
            tokens: New tokens since the last call. Prompt tokens from a cache cost nothing.

        Raises:
            ValueError: There are less than none.
        """
        if tokens < 0:
            raise ValueError(f"cannot charge {tokens} tokens")
        if self._request is not None:
            self._queue._charge(self._request, tokens)

    def _move(self, place: int) -> None:
        if place != self._place:
            self._place = place
            self._moved.set()
