from __future__ import annotations

import asyncio
import contextlib
import random
import time
from contextlib import ExitStack
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from llmspell_jupyter.engine.fairness import TYPICAL, ServiceClass
from llmspell_jupyter.engine.queue import Queue
from llmspell_jupyter.errors import EngineBusy
from tests.support.engines import ENDLESS, SINGLY, RunningEngine, engine, wait_for

LIMIT = 2


class Guest:
    """A task that takes a ticket, waits for its seat and keeps it until it is told to end."""

    def __init__(self, queue: Queue, client: str, service: ServiceClass):
        self.client = client
        self.told: list[int] = []
        self.seated = False
        self.error: EngineBusy | None = None
        self.done = asyncio.Event()
        self.task = asyncio.create_task(self._visit(queue, service))

    async def _visit(self, queue: Queue, service: ServiceClass) -> None:
        try:
            with queue.join(self.client, service) as self.ticket:
                async for place in self.ticket.wait():
                    self.told.append(place)
                self.seated = True
                await self.done.wait()
        except EngineBusy as error:
            self.error = error
        finally:
            self.seated = False

    def charge(self, tokens: int) -> None:
        self.ticket.charge(tokens)

    async def end(self) -> None:
        self.done.set()
        await self.task
        await settle()


async def settle() -> None:
    """Let every task go as far as it can."""
    for _ in range(10):
        await asyncio.sleep(0)


def test_first_come_first_served() -> None:
    order: list[int] = []
    ahead: dict[int, list[int]] = {}

    async def one(queue: Queue, number: int) -> None:
        with queue.join() as ticket:
            ahead[number] = [each async for each in ticket.wait()]
            await asyncio.sleep(0)
            order.append(number)

    async def run() -> None:
        queue = Queue(limit=10)
        await asyncio.gather(*(one(queue, number) for number in range(5)))
        assert len(queue) == 0

    asyncio.run(run())
    assert order == [0, 1, 2, 3, 4]
    # Nobody hears of a place that is not nearer than the one before.
    assert all(places == sorted(set(places), reverse=True) for places in ahead.values())
    assert ahead[0] == [] and ahead[4][0] == 4


@pytest.mark.parametrize("seed", range(5))
def test_whoever_leaves_makes_room_and_nobody_waits_for_the_gone(seed: int) -> None:
    random_ = random.Random(seed)
    served: list[int] = []
    inside = 0

    async def one(queue: Queue, number: int) -> None:
        nonlocal inside
        with queue.join() as ticket:
            async for _ in ticket.wait():
                pass
            inside += 1
            assert inside == 1, "two at once"
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0)
                served.append(number)
            inside -= 1

    async def run() -> None:
        queue = Queue(limit=50)
        tasks = [asyncio.create_task(one(queue, number)) for number in range(40)]
        await asyncio.sleep(0)
        gone = random_.sample(range(40), 15)
        for number in gone:
            tasks[number].cancel()
        await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 10)
        assert len(queue) == 0
        assert [each for each in range(40) if each not in gone] == [
            each for each in served if each not in gone
        ]

    asyncio.run(run())


def test_a_full_queue_says_so_at_once() -> None:
    async def run() -> None:
        queue = Queue(LIMIT)
        with ExitStack() as stack:
            for _ in range(LIMIT + 1):  # One runs, the others wait.
                stack.enter_context(queue.join())
            with pytest.raises(EngineBusy) as caught:
                queue.join()
            assert caught.value.data == {
                "full": "queue",
                "limit": LIMIT,
                "waiting": LIMIT,
                "client_waiting": LIMIT,
            }
            assert "%llmspell_status" in caught.value.hint
        with queue.join():
            assert len(queue) == 1

    asyncio.run(run())


def test_a_full_client_leaves_room_for_the_others() -> None:
    queue = Queue(limit=5, client_limit=2)
    with ExitStack() as stack:
        for service in (*ServiceClass, ServiceClass.INTERACTIVE):  # One runs, two wait.
            stack.enter_context(queue.join("kernel 1", service))
        with pytest.raises(EngineBusy, match=r"2 of your requests .kernel 1.*at most 2") as caught:
            queue.join("kernel 1", ServiceClass.BATCH)
        assert caught.value.data == {
            "full": "client",
            "limit": 2,
            "waiting": 2,
            "client_waiting": 2,
        }
        for number in (2, 3, 4):
            stack.enter_context(queue.join(f"kernel {number}"))
        with pytest.raises(EngineBusy, match=r"5 requests.*1 of them yours .kernel 4.*at most 5"):
            queue.join("kernel 4")
        assert (queue.running, queue.waiting) == (1, 5)


def test_limit_and_ten_clients_refuse_exactly_ten() -> None:
    queue = Queue(limit=64, client_limit=32)
    with ExitStack() as stack:
        stack.enter_context(queue.join("runs"))
        refused = []
        for number in range(64 + 10):
            try:
                stack.enter_context(queue.join(f"kernel {number}"))
            except EngineBusy:
                refused.append(number)
        assert refused == list(range(64, 74))
    assert len(queue) == 0


def test_who_passes_by_takes_nothing() -> None:
    async def run() -> None:
        queue = Queue(limit=1)
        with queue.join(), queue.pass_by() as ticket:
            assert [each async for each in ticket.wait()] == []
            ticket.charge(100)
            assert (len(queue), queue.snapshot()["clients"][0]["tokens"]) == (1, 0)
        assert len(queue) == 0

    asyncio.run(run())


def test_a_snapshot_counts_by_client() -> None:
    queue = Queue(limit=9, seats=2, client_limit=4)
    with ExitStack() as stack:
        first = stack.enter_context(queue.join("kernel 1"))
        stack.enter_context(queue.join("kernel 2"))
        stack.enter_context(queue.join("kernel 1", ServiceClass.BATCH))
        first.charge(30)
        first.charge(0)
        with pytest.raises(ValueError, match="-1"):
            first.charge(-1)
        assert queue.snapshot() == {
            "waiting": 1,
            "running": 2,
            "limit": 9,
            "client_limit": 4,
            "seats": 2,
            "clients": [
                {"client": "kernel 1", "waiting": 1, "running": 1, "tokens": 30},
                {"client": "kernel 2", "waiting": 0, "running": 1, "tokens": 0},
            ],
        }
    first.charge(5)
    assert queue.snapshot()["clients"] == []


def test_a_ticket_given_back_elsewhere_ends_its_wait() -> None:
    async def run() -> None:
        queue = Queue(limit=2)
        with queue.join(), queue.join() as ticket:

            async def wait() -> list[int]:
                return [place async for place in ticket.wait()]

            task = asyncio.create_task(wait())
            await settle()
            ticket.__exit__(None, None, None)
            assert await asyncio.wait_for(task, 10) == [1]
            assert len(queue) == 1

    asyncio.run(run())


@pytest.mark.parametrize("seats", [1, 3])
@pytest.mark.parametrize("cost", [TYPICAL, 40, 1000])
@pytest.mark.parametrize("seed", range(3))
def test_the_place_is_what_has_to_end_first(seed: int, cost: int, seats: int) -> None:
    """If answers cost what is expected and nobody comes, the first place told comes true."""
    random_ = random.Random(seed)

    async def run() -> None:
        queue = Queue(limit=100, seats=seats)
        for _ in range(200):  # What answers cost is learnt from those before.
            with queue.join() as ticket:
                ticket.charge(cost)
        guests = [
            Guest(queue, f"kernel {random_.randrange(5)}", random_.choice(list(ServiceClass)))
            for _ in range(30)
        ]
        await settle()
        for guest in guests:
            del guest.told[:-1]  # Told before everybody had come.
        ended = 0
        seated_after = {guest: 0 for guest in guests if guest.seated}
        while seated_after.keys() != set(guests) or any(guest.seated for guest in guests):
            running = [guest for guest in guests if guest.seated]
            assert len(running) == min(seats, len(guests) - ended)
            guest = random_.choice(running)
            guest.charge(cost)
            await guest.end()
            ended += 1
            seated_after |= {
                each: ended for each in guests if each.seated and each not in seated_after
            }
        for guest in guests:
            assert guest.told == list(range(seated_after[guest], 0, -1))

    asyncio.run(run())


def test_the_place_follows_an_answer_that_goes_on_and_on() -> None:
    async def run() -> None:
        queue = Queue(limit=10)
        debtor = Guest(queue, "debtor", ServiceClass.INTERACTIVE)
        long = [Guest(queue, "long", ServiceClass.INTERACTIVE) for _ in range(2)]
        await settle()
        debtor.charge(TYPICAL + 100)
        await debtor.end()
        debtor = Guest(queue, "debtor", ServiceClass.INTERACTIVE)
        await settle()
        # Those of the long one cost little so far, so that its second one is the next.
        assert (long[1].told, debtor.told) == ([2, 1], [2])
        with queue.join("passes both and goes"):
            pass
        await settle()
        assert (long[1].told, debtor.told) == ([2, 1], [2]), "told the same again"
        for _ in range(TYPICAL + 10):
            long[0].charge(1)
            await asyncio.sleep(0)
        await settle()
        assert long[0].seated
        assert (long[1].told, debtor.told) == ([2, 1, 2], [2, 1])
        for guest in (*long, debtor):
            guest.task.cancel()
        await settle()
        assert len(queue) == 0

    asyncio.run(run())


class Visits(RuleBasedStateMachine):
    """Guests come, are charged, go and give up in any order; a model of sets says what holds."""

    LIMIT = 6
    CLIENT_LIMIT = 3

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.guests: list[Guest] = []
        self.queue = Queue(self.LIMIT)

    @initialize(seats=st.integers(1, 3))
    def opens(self, seats: int) -> None:
        self.seats = seats
        self.queue = Queue(self.LIMIT, seats, self.CLIENT_LIMIT)

    @rule(client=st.sampled_from("abcd"), service=st.sampled_from(ServiceClass))
    def join(self, client: str, service: ServiceClass) -> None:
        waiting = [guest.client for guest in self.guests if not guest.seated]
        full = len(self.guests) >= self.seats and (
            len(waiting) >= self.LIMIT or waiting.count(client) >= self.CLIENT_LIMIT
        )
        guest = self.runner.run(self._coming(client, service))
        assert isinstance(guest.error, EngineBusy) == full
        if not full:
            self.guests.append(guest)

    async def _coming(self, client: str, service: ServiceClass) -> Guest:
        guest = Guest(self.queue, client, service)
        await settle()
        return guest

    @precondition(lambda self: self.guests)
    @rule(data=st.data(), tokens=st.integers(0, 1000))
    def charge(self, data: st.DataObject, tokens: int) -> None:
        data.draw(st.sampled_from([each for each in self.guests if each.seated])).charge(tokens)
        self.runner.run(settle())

    @precondition(lambda self: self.guests)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        guest = data.draw(st.sampled_from([each for each in self.guests if each.seated]))
        self.runner.run(guest.end())
        self.guests.remove(guest)

    @precondition(lambda self: self.guests)
    @rule(data=st.data(), steps=st.integers(0, 4))
    def give_up_while_another_ends(self, data: st.DataObject, steps: int) -> None:
        """Also between getting a seat and hearing of it."""
        ends = data.draw(st.sampled_from([each for each in self.guests if each.seated]))
        gone = data.draw(st.sampled_from(self.guests))
        self.runner.run(self._both(ends, gone, steps))
        self.guests = [guest for guest in self.guests if guest not in (ends, gone)]

    async def _both(self, ends: Guest, gone: Guest, steps: int) -> None:
        ends.done.set()
        for _ in range(steps):
            await asyncio.sleep(0)
        gone.task.cancel()
        await settle()

    @invariant()
    def nobody_is_lost_and_no_seat_is_empty(self) -> None:
        seated = [guest for guest in self.guests if guest.seated]
        waiting = [guest for guest in self.guests if not guest.seated]
        assert not any(guest.task.done() for guest in self.guests)
        assert (self.queue.running, self.queue.waiting) == (len(seated), len(waiting))
        if self.guests:
            assert len(seated) == min(self.seats, len(self.guests))
        assert sorted(guest.told[-1] for guest in waiting) == list(range(1, len(waiting) + 1))
        for guest in self.guests:
            assert all(place > 0 for place in guest.told)
            assert all(one != next_ for one, next_ in pairwise(guest.told)), "told twice"
        counts = {each["client"]: each for each in self.queue.snapshot()["clients"]}
        for client in {guest.client for guest in self.guests}:
            assert counts[client]["waiting"] == [each.client for each in waiting].count(client)
            assert counts[client]["running"] == [each.client for each in seated].count(client)

    def teardown(self) -> None:
        while self.guests:
            guest = next(each for each in self.guests if each.seated)
            self.runner.run(guest.end())
            self.guests.remove(guest)
            self.nobody_is_lost_and_no_seat_is_empty()
        assert self.queue.snapshot()["clients"] == []
        self.runner.close()


TestVisits = Visits.TestCase
TestVisits.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@pytest.fixture(scope="module")
def small() -> Any:
    with engine(LLMSPELL_ENGINE_QUEUE_LIMIT=str(LIMIT)) as running:
        yield running


def test_a_second_request_sees_its_place_and_gets_its_turn(small: RunningEngine) -> None:
    body = ENDLESS | {"max_tokens": 2, "llmspell": {"progress": True} | SINGLY}
    with ExitStack() as stack:
        first = ExitStack()
        stack.enter_context(first)
        first.enter_context(small.answering(llmspell=SINGLY))
        second = stack.enter_context(small.stream("/v1/completions", body))
        assert next(second)["llmspell"] == {
            "progress": {"phase": "queued", "done": 1, "total": None}
        }
        assert [job["ahead"] for job in small.jobs() if job["phase"] == "queued"] == [1]
        assert [each["waiting"] for each in small.status()["workers"]] == [1]
        first.close()
        assert next(second)["llmspell"]["progress"]["phase"] == "reading the prompt"
        assert list(second)[-1] == "[DONE]"


@pytest.mark.parametrize("stream", [True, False])
def test_beyond_the_limit_a_request_is_refused_at_once(small: RunningEngine, stream: bool) -> None:
    waiting = ENDLESS | {"max_tokens": 1, "llmspell": {"progress": True} | SINGLY}
    with ExitStack() as stack:
        stack.enter_context(small.answering(llmspell=SINGLY))
        others = [
            stack.enter_context(small.stream("/v1/completions", waiting)) for _ in range(LIMIT)
        ]
        assert all(next(each)["llmspell"]["progress"]["phase"] == "queued" for each in others)
        started = time.monotonic()
        refused = small.complete(**ENDLESS, stream=stream, llmspell=SINGLY)
        assert time.monotonic() - started < 2
        assert refused.status_code == 503
        assert refused.json()["error"]["type"] == "EngineBusy"
        assert refused.json()["error"]["llmspell"]["data"]["waiting"] == LIMIT
        # Another model has a queue of its own.
        assert small.chat("hello").status_code == 200
    wait_for(lambda: not small.jobs())
    assert small.complete(**ENDLESS | {"max_tokens": 1}).status_code == 200
