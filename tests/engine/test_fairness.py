from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from itertools import combinations
from typing import Any

import pytest

from llmspell_jupyter.engine.fairness import WEIGHTS, ServiceClass
from llmspell_jupyter.engine.queue import Queue

INTERACTIVE, BATCH = ServiceClass

LONGEST = 400
#: Tokens that an answer gets between two looks at the others.
STEP = 10


class Server:
    """Answers that take seats and cost tokens; it counts who got what.

    ``shares`` are the tokens of each client while all of them had something waiting.
    """

    def __init__(self, seats: int = 1, limit: int = 10_000):
        self.queue = Queue(limit, seats)
        self.tokens: Counter[str] = Counter()
        self.shares: Counter[str] = Counter()
        self.waiting: Counter[str] = Counter()
        self._moved = asyncio.Event()

    async def answer(self, client: str, tokens: int, service: ServiceClass = INTERACTIVE) -> int:
        """Get one answer; the tokens that others got while it waited."""
        before = self.tokens.total()
        with self.queue.join(client, service) as ticket:
            self.waiting[client] += 1
            async for _ in ticket.wait():
                pass
            waited = self.tokens.total() - before
            self.waiting[client] -= 1
            while tokens > 0:
                cost = min(STEP, tokens)
                tokens -= cost
                ticket.charge(cost)
                self.tokens[client] += cost
                if all(self.waiting.values()):
                    self.shares[client] += cost
                self._moved.set()
                await asyncio.sleep(0)
            return waited

    async def until(self, there: Callable[[], bool]) -> None:
        """Serve until something is so."""
        while not there():
            self._moved.clear()
            await self._moved.wait()

    async def one_after_the_other(self, client: str, sizes: list[int]) -> None:
        for size in sizes:
            await self.answer(client, size)


def jain(shares: list[float]) -> float:
    """1 when all shares are equal, one part in their number when one has everything."""
    return sum(shares) ** 2 / (len(shares) * sum(each**2 for each in shares))


def sizes_of(random_: random.Random, number: int) -> list[int]:
    return [random_.randint(10, LONGEST) for _ in range(number)]


@pytest.mark.parametrize("seats", [1, 4])
@pytest.mark.parametrize("seed", range(3))
def test_who_sends_fifty_gets_no_more_than_who_sends_twelve(seed: int, seats: int) -> None:
    random_ = random.Random(seed)
    work = {"greedy": sizes_of(random_, 50)} | {
        f"kernel {number}": sizes_of(random_, 12) for number in range(29)
    }

    async def run() -> Server:
        server = Server(seats)
        await asyncio.gather(
            *(server.answer(client, size) for client, sizes in work.items() for size in sizes)
        )
        return server

    server = asyncio.run(run())
    assert server.tokens == {client: sum(sizes) for client, sizes in work.items()}
    shares = [server.shares[client] for client in work]
    assert min(shares) > LONGEST
    assert jain(shares) >= 0.95
    # The bound that the module promises, with a weight of 4 on both sides.
    assert max(shares) - min(shares) <= 2 * seats * LONGEST


@pytest.mark.parametrize("seed", range(3))
def test_asking_one_after_the_other_gets_as_much_as_asking_all_at_once(seed: int) -> None:
    random_ = random.Random(seed)

    async def run() -> Server:
        server = Server()
        greedy = [
            asyncio.create_task(server.answer("greedy", size)) for size in sizes_of(random_, 50)
        ]
        others = [
            asyncio.create_task(
                server.one_after_the_other(f"kernel {number}", sizes_of(random_, 60))
            )
            for number in range(29)
        ]
        await server.until(lambda: server.tokens["greedy"] >= 4000)
        for task in greedy + others:
            task.cancel()
        await asyncio.gather(*greedy, *others, return_exceptions=True)
        assert len(server.queue) == 0
        return server

    server = asyncio.run(run())
    shares = [server.tokens[client] for client in server.waiting]
    assert len(shares) == 30
    assert jain(shares) >= 0.95


@pytest.mark.parametrize("seats", [1, 4])
def test_classes_share_by_weight(seats: int) -> None:
    random_ = random.Random(seats)
    service = {f"kernel {number}": INTERACTIVE if number % 2 else BATCH for number in range(6)}

    async def run() -> Server:
        server = Server(seats)
        await asyncio.gather(
            *(
                server.answer(client, size, each)
                for client, each in service.items()
                for size in sizes_of(random_, 60)
            )
        )
        return server

    shares = asyncio.run(run()).shares
    of_class = Counter[ServiceClass]()
    for client, tokens in shares.items():
        of_class[service[client]] += tokens
    assert of_class[INTERACTIVE] / of_class[BATCH] == pytest.approx(4, rel=0.1)
    for one, other in combinations(service, 2):
        weights = WEIGHTS[service[one]], WEIGHTS[service[other]]
        apart = abs(shares[one] / weights[0] - shares[other] / weights[1])
        assert apart <= seats * LONGEST * sum(1 / weight for weight in weights)


def test_long_answers_of_one_do_not_delay_the_others() -> None:
    """One client fills half the queue with the longest answers; then many ask for one each."""
    random_ = random.Random(6)
    sizes = sizes_of(random_, 32)

    async def run() -> list[int]:
        server = Server(limit=64)
        greedy = [asyncio.create_task(server.answer("greedy", LONGEST)) for _ in range(33)]
        await asyncio.sleep(0)
        waits = await asyncio.gather(
            *(server.answer(f"kernel {number}", size) for number, size in enumerate(sizes))
        )
        await asyncio.gather(*greedy)
        return waits

    fair = sum(sizes) / len(sizes) * 32
    assert max(asyncio.run(run())) <= 2 * fair


def test_one_alone_gets_everything() -> None:
    async def run() -> None:
        server = Server(seats=4)
        tasks = [asyncio.create_task(server.answer("alone", 100)) for _ in range(12)]
        await asyncio.sleep(0)
        assert (server.queue.running, server.queue.waiting) == (4, 8)
        await asyncio.gather(*tasks)

    asyncio.run(run())


def test_idling_earns_nothing() -> None:
    async def run() -> Server:
        server = Server()
        early = [
            asyncio.create_task(server.answer(client, 100))
            for client in ("one", "two")
            for _ in range(200)
        ]
        with server.queue.join("late"):  # It was here before, and then slept.
            pass
        await server.until(lambda: server.tokens.total() >= 20_000)
        server.shares.clear()
        late = [asyncio.create_task(server.answer("late", 100)) for _ in range(50)]
        await asyncio.gather(*early, *late)
        return server

    shares = asyncio.run(run()).shares
    assert shares["late"] > 4000
    assert max(shares.values()) - min(shares.values()) <= 200


def test_giving_up_earns_nothing_for_who_comes_next() -> None:
    """Others wait while one is served, and go before they would get a seat."""
    queue = Queue(limit=20)
    busy = [queue.join("busy") for _ in range(12)]
    for _ in range(10):
        with ExitStack() as stack:
            for number in range(9):
                stack.enter_context(queue.join(f"gives up {number}"))
            busy[0].charge(LONGEST)
        busy.pop(0).__exit__(None, None, None)
    late = [queue.join("late") for _ in range(2)]
    busy.pop(0).__exit__(None, None, None)
    late[0].charge(LONGEST)
    late[0].__exit__(None, None, None)
    assert [each["client"] for each in _clients(queue) if each["running"]] == ["busy"]


def test_leaving_pays_no_debt_and_no_debt_stays() -> None:
    queue = Queue(limit=10)

    def clients() -> list[str]:
        return [each["client"] for each in _clients(queue)]

    def serve(tokens: int) -> str:
        """Charge whoever runs, and take its ticket back."""
        (client,) = [each["client"] for each in _clients(queue) if each["running"]]
        tickets[client][0].charge(tokens)
        tickets[client].pop(0).__exit__(None, None, None)
        return client

    tickets = {"long": [queue.join("long")]}
    tickets["short"] = [queue.join("short") for _ in range(7)]
    assert serve(350) == "long"
    tickets["long"] = [queue.join("long")]
    assert [serve(100) for _ in range(5)] == ["short"] * 4 + ["long"]
    # The long one had 25 tokens more than half of all; until another had as many, it owes them.
    assert serve(10) == "short"
    assert clients() == ["long", "short"]
    assert serve(100) == "short"
    assert clients() == ["short"]
    assert serve(1) == "short"
    assert clients() == []


@pytest.mark.parametrize(
    ("newcomers", "cost", "most"),
    [
        # The level is half as high as the counter of the old one, so 1,500 tokens go to each of
        # three lines before it is passed: that of the old one, of who runs and of who waits.
        (True, 10, 4500),
        # One other line has to get as much, a token for each request.
        (False, 0, 3000),
    ],
    ids=["newcomers", "free requests"],
)
def test_nobody_starves(newcomers: bool, cost: int, most: int) -> None:
    """Others come without end, always one of them waiting beside one that has a debt."""
    queue = Queue(limit=10)
    old = queue.join("old")
    tickets = [queue.join("other")]
    old.charge(3000)
    old.__exit__(None, None, None)
    queue.join("old")
    served = 0
    while not any(each["client"] == "old" and each["running"] for each in _clients(queue)):
        tickets.append(queue.join(f"other {len(tickets)}" if newcomers else "other"))
        with tickets[-2] as ends:
            ends.charge(cost)
        served += max(1, cost)
        assert served <= most + cost
    assert served > most / 2


def _clients(queue: Queue) -> list[dict[str, Any]]:
    clients: list[dict[str, Any]] = queue.snapshot()["clients"]
    return clients
