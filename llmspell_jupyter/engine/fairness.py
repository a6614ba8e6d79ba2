"""Whose answer is next: each client gets its share of the tokens of a model.

How long an answer gets is known only when it ends, so tokens are charged as they are read and
written. Each client has a counter of the tokens it got, divided by its weight, and the request of
the lowest counter is next: the virtual token counter of Sheng et al., "Fairness in Serving Large
Language Models" (2024). Deficit round robin (Shreedhar and Varghese, "Efficient Fair Queueing Using
Deficit Round Robin", 1995) that charges afterwards and hands out ever smaller quanta comes to the
same order, without rounds to run through.

What follows from it, with L for the most tokens of one answer and S for the seats:

- Of two lines with weights v and w that both wait all the while, the counters differ by at most
  S * L / v + S * L / w, however many requests either has: a line gets a seat only while its
  counter, with what its running answers are expected to cost, is the lowest.
- Who comes starts at the *level*: it rises as the counter of a line that gets exactly its share,
  and is no lower than the lowest counter. So idling earns nothing. Who left above the level comes
  back there until the level has passed it: leaving pays no debt, and no debt outlasts its worth.
  Nothing is kept when all have left.
- Nobody waits for ever. The level rises with every token, also while only newcomers are served,
  and every request costs at least one token: at last all others stand above whoever waits.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import count


class ServiceClass(StrEnum):
    """How much somebody waits for an answer."""

    INTERACTIVE = "interactive"
    BATCH = "batch"


#: Shares of the tokens while lines of both classes wait.
WEIGHTS = {ServiceClass.INTERACTIVE: 4, ServiceClass.BATCH: 1}

#: Tokens that an answer is expected to cost while none has ended yet.
TYPICAL = 256

#: The share of the newest answer in what the next one is expected to cost.
_NEWEST = 1 / 16


@dataclass(eq=False, slots=True)
class Request:
    """One request, waiting or running.

    Attributes:
        line: The line it stands in.
        number: Its place among all arrivals.
        cost: Tokens charged so far.
        expected: Tokens it is expected to cost in all, while it runs.
    """

    line: Line
    number: int
    cost: int = 0
    expected: int = 0


@dataclass(eq=False, slots=True)
class Line:
    """The requests of one client in one class, first come, first served.

    Attributes:
        client: Whose they are, such as ``kernel 4711``.
        weight: Its share beside other lines.
        counter: Tokens charged divided by the weight, from the level at which the line began.
        tokens: Tokens charged.
        waiting: In order of arrival.
        running: Those that have a seat.
    """

    client: str
    weight: int
    counter: float = 0
    tokens: int = 0
    waiting: list[Request] = field(default_factory=list)
    running: list[Request] = field(default_factory=list)

    @property
    def claim(self) -> float:
        """The counter once those that run have cost what is expected; the lowest is next."""
        owed = sum(max(0, each.expected - each.cost) for each in self.running)
        return self.counter + owed / self.weight


class Turns:
    """Lines of requests and the order in which they get seats."""

    def __init__(self) -> None:
        self._lines: dict[tuple[str, ServiceClass], Line] = {}
        self._numbers = count()
        self._level = 0.0
        self._mean = float(TYPICAL)

    def __iter__(self) -> Iterator[Line]:
        """Lines that wait, run or are still above the level."""
        return iter(self._lines.values())

    def join(self, client: str, service: ServiceClass) -> Request:
        """A request at the end of its client's line."""
        line = self._lines.setdefault((client, service), Line(client, WEIGHTS[service]))
        if not (line.waiting or line.running):
            lowest = min((each.counter for each in self._active()), default=0.0)
            self._level = max(self._level, lowest)
            line.counter = max(line.counter, self._level)
        request = Request(line, next(self._numbers))
        line.waiting.append(request)
        return request

    def order(self) -> Iterator[Request]:
        """Those that wait, in the order in which they start if each costs what is expected."""
        heap = [(line.claim, line.waiting[0].number, 0, line) for line in self if line.waiting]
        heapq.heapify(heap)
        while heap:
            claim, _, place, line = heap[0]
            yield line.waiting[place]
            place += 1
            if place < len(line.waiting):
                claim += self._typical / line.weight
                heapq.heapreplace(heap, (claim, line.waiting[place].number, place, line))
            else:
                heapq.heappop(heap)

    def start(self) -> Request | None:
        """The next request, which runs from here on."""
        request = next(self.order(), None)
        if request is not None:
            request.line.waiting.remove(request)
            request.line.running.append(request)
            request.expected = self._typical
        return request

    def charge(self, request: Request, tokens: int) -> bool:
        """Charge tokens to a running request; True if it costs more than was expected."""
        line = request.line
        line.tokens += tokens
        line.counter += tokens / line.weight
        self._level += tokens / sum(each.weight for each in self._active())
        request.cost += tokens
        if request.cost <= request.expected:
            return False
        # What has gone on for so long is expected to go on for as long again.
        request.expected = 2 * request.cost
        return True

    def leave(self, request: Request) -> None:
        """Take a request out, whether it waits or runs."""
        line = request.line
        if request in line.waiting:
            line.waiting.remove(request)
        else:
            self.charge(request, max(0, 1 - request.cost))
            self._mean += (request.cost - self._mean) * _NEWEST
            line.running.remove(request)
        self._forget()

    @property
    def _typical(self) -> int:
        return round(self._mean)

    def _active(self) -> list[Line]:
        return [line for line in self if line.waiting or line.running]

    def _forget(self) -> None:
        active = self._active()
        if not active:
            self._level = 0.0
        self._lines = {
            key: line
            for key, line in self._lines.items()
            if line.waiting or line.running or (active and line.counter > self._level)
        }
