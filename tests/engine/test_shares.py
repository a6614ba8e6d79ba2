"""Several clients before one model, over real HTTP: who is refused, and who gets how much."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest

from tests.support.engines import SINGLY, RunningEngine, engine, gone_within, wait_for

SLOW = "echo:slow"
LIMIT = 4
OWN_LIMIT = 3


@pytest.fixture(scope="module")
def running() -> Iterator[RunningEngine]:
    limits = {"QUEUE_LIMIT": LIMIT, "CLIENT_QUEUE_LIMIT": OWN_LIMIT}
    variables = {f"LLMSPELL_ENGINE_{name}": str(limit) for name, limit in limits.items()}
    with engine(**variables) as running:
        yield running


def ask(running: RunningEngine, client: str, words: int = 1, **headers: str) -> httpx.Response:
    """One answer of so many tokens, as this client asks for it."""
    token = running.connection.token
    headers |= {"Authorization": f"Bearer {token}", "X-LLMSpell-Client": client}
    with running.client(**headers) as http:
        body = {"model": SLOW, "prompt": "a " * words, "max_tokens": 4000, "llmspell": SINGLY}
        return http.post("/v1/completions", json=body)


@contextmanager
def held(running: RunningEngine) -> Iterator[ThreadPoolExecutor]:
    """Threads for clients, and a model that does not get ready before the block ends."""
    with ThreadPoolExecutor(64) as threads:
        threads.submit(ask, running, "first")
        worker = wait_for(lambda: running.worker(SLOW))
        worker.suspend()
        try:
            yield threads
        finally:
            worker.resume()
    running.http.post("/api/unload", json={"model": SLOW})
    assert gone_within([worker], 10)


def waits(running: RunningEngine, count: int) -> None:
    wait_for(lambda: sum(job["phase"] == "queued" for job in running.jobs()) == count)


def test_of_too_many_clients_exactly_the_last_ones_are_refused(running: RunningEngine) -> None:
    def timed(name: str) -> tuple[httpx.Response, float]:
        started = time.monotonic()
        return ask(running, name), time.monotonic() - started

    with held(running) as threads:
        asked: list[Future[tuple[httpx.Response, float]]] = []
        for number in range(LIMIT):
            asked.append(threads.submit(timed, f"kernel {number}"))
            waits(running, number + 1)
        extra = [threads.submit(timed, f"late {number}") for number in range(3)]
        for each in extra:
            refused, seconds = each.result(30)
            assert refused.status_code == 503 and seconds < 5
            error = refused.json()["error"]
            assert error["type"] == "EngineBusy" and f"{LIMIT} requests" in error["message"]
            assert "%llmspell_status" in error["llmspell"]["hint"]
        assert not any(each.done() for each in asked)
    assert [each.result()[0].status_code for each in asked] == [200] * LIMIT


def test_one_client_cannot_fill_the_queue(running: RunningEngine) -> None:
    with held(running) as threads:
        own = [threads.submit(ask, running, "greedy") for _ in range(OWN_LIMIT)]
        waits(running, OWN_LIMIT)
        refused = ask(running, "greedy")
        assert refused.status_code == 503
        facts = refused.json()["error"]["llmspell"]["data"]
        assert (facts["full"], facts["client_waiting"]) == ("client", OWN_LIMIT)
        other = threads.submit(ask, running, "modest")
        waits(running, OWN_LIMIT + 1)
        (queue,) = [each["queue"] for each in running.status()["workers"] if each["model"] == SLOW]
        places = {each["client"]: each["waiting"] for each in queue["clients"]}
        assert places == {"first": 0, "greedy": OWN_LIMIT, "modest": 1}
        assert (queue["limit"], queue["client_limit"]) == (LIMIT, OWN_LIMIT)
    assert [each.result().status_code for each in (*own, other)] == [200] * (OWN_LIMIT + 1)


def test_a_class_of_service_that_there_is_not(running: RunningEngine) -> None:
    refused = ask(running, "kernel 1", **{"X-LLMSpell-Class": "urgent"})
    assert refused.status_code == 400
    error = refused.json()["error"]
    assert error["type"] == "RequestError"
    assert "'urgent'" in error["message"] and "interactive or batch" in error["message"]


def order(
    running: RunningEngine,
    requests: dict[str, int],
    *,
    service: dict[str, str] | None = None,
    words: dict[str, int] | None = None,
) -> list[str]:
    """Clients in the order in which their answers end; the first asks first.

    Args:
        running: The engine.
        requests: How many each client has.
        service: Its class, where it is not the usual one.
        words: How long its answers are, where they are not 300 tokens.
    """
    ended: list[str] = []
    lock = threading.Lock()

    def one(client: str) -> None:
        given = (service or {}).get(client, "interactive")
        length = (words or {}).get(client, 300)
        answer = ask(running, client, length, **{"X-LLMSpell-Class": given})
        assert answer.status_code == 200
        with lock:
            ended.append(client)

    with held(running) as threads:
        asked: list[Future[None]] = []
        for client, count in requests.items():
            asked += [threads.submit(one, client) for _ in range(count)]
            waits(running, len(asked))
    for each in asked:
        each.result()
    return ended


def test_a_client_with_many_requests_gets_no_more_than_the_others() -> None:
    with engine() as running:
        ended = order(running, {"greedy": 16} | {f"kernel {n}": 4 for n in range(4)})
    # All have work waiting until then.
    tokens = Counter(ended[:15])
    assert sum(tokens.values()) ** 2 / (5 * sum(each**2 for each in tokens.values())) >= 0.95


def test_who_waits_for_an_answer_goes_before_a_batch() -> None:
    with engine() as running:
        ended = order(running, {"night": 10, "day": 10}, service={"night": "batch"})
    # Four to one, where both wait.
    assert 7 <= Counter(ended[:10])["day"] <= 9


def test_long_answers_count_as_what_they_are() -> None:
    with engine() as running:
        ended = order(running, {"long": 4, "short": 12}, words={"long": 600, "short": 60})
    # Ten short ones are as much as a long one.
    assert Counter(ended[:9])["short"] >= 7
