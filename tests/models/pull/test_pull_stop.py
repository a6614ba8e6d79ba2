"""A stop ends a pull within half a second wherever it is, and nothing that came is lost."""

from __future__ import annotations

import socket
import threading
import time
from dataclasses import replace
from typing import Any

import pytest

from llmspell_jupyter.errors import Interrupted
from llmspell_jupyter.models.pull import limit
from llmspell_jupyter.models.pull.claim import Claim
from llmspell_jupyter.models.pull.download import THREAD
from llmspell_jupyter.models.transfer import addresses
from tests.support import pulls
from tests.support.hub_server import Hub
from tests.support.pulls import KEY, QUICK, REPOSITORY, Pulls

SLOW = replace(
    QUICK, stall_seconds=30, connect_seconds=30, first_wait=30, longest_wait=60, longest_asked=60
)


def _stopped(model: Pulls, *, ends: bool = True, **changes: Any) -> None:
    """Stop a pull that hangs somewhere; it has to end at once."""
    stop = threading.Event()
    stopped: list[float] = []

    def ring() -> None:
        stopped.append(time.monotonic())
        stop.set()

    timer = threading.Timer(0.4, ring)
    timer.start()
    with pytest.raises(Interrupted):
        model.pull(model.request(**changes), pace=SLOW, stop=stop)
    assert time.monotonic() - stopped[0] < 1
    if ends:
        # Woken, not left to their limits of time.
        deadline = time.monotonic() + 5
        while any(each.name == THREAD for each in threading.enumerate()):
            assert time.monotonic() < deadline
            time.sleep(0.01)
    hub = model.hub
    hub.mend()
    model.pull()
    assert model.published() == pulls.files()
    assert model.left() == []


@pytest.mark.parametrize(
    "fault",
    [
        ("silent", {}),
        ("stall", {"at": 300_000}),
        ("stall", {"after": 0}),
        ("drip", {"bytes_per_second": 1000}),
        ("status", {"status": 500}),
        ("status", {"status": 429, "retry_after": 30}),
    ],
    ids=str,
)
def test_while_a_server_keeps_us_waiting(
    hub: Hub, model: Pulls, fault: tuple[str, dict[str, Any]]
) -> None:
    hub.fault(KEY, fault[0], **fault[1])  # type: ignore[arg-type]
    _stopped(model)


def test_while_the_hub_is_asked_what_there_is(hub: Hub, model: Pulls) -> None:
    hub.fault(f"/api/models/{REPOSITORY}", "silent", seconds=3)
    _stopped(model)


def test_while_the_second_host_is_silent(hub: Hub, model: Pulls) -> None:
    hub.cdn = True
    hub.fault(KEY, "stall", after=0, server="cdn")
    _stopped(model)


def test_while_connecting(hub: Hub, model: Pulls) -> None:
    """To a host whose queue is full: it answers nothing, as one behind a firewall."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        waiting = []
        for _ in range(8):
            each = socket.socket()
            each.setblocking(False)
            each.connect_ex(("127.0.0.1", port))
            waiting.append(each)
        hub.fault(KEY, "redirect", to=f"http://127.0.0.1:{port}/x")
        _stopped(model, sources=hub.sources(hosts=(f"127.0.0.1:{port}",)))
        for each in waiting:
            each.close()


def test_while_a_name_is_looked_up(hub: Hub, model: Pulls, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing ends that; it is left alone."""
    hub.fault(KEY, "redirect", to="https://slow.hf.co/x")
    over = threading.Event()
    real = socket.getaddrinfo

    def resolve(host: str, *more: Any, **named: Any) -> Any:
        if host == "slow.hf.co":
            over.wait(20)
            raise OSError("no such host")
        return real(host, *more, **named)

    monkeypatch.setattr(addresses.socket, "getaddrinfo", resolve)
    try:
        _stopped(model, ends=False, sources=hub.sources(hosts=("*.hf.co",)))
    finally:
        over.set()


def test_while_another_process_has_the_claim(model: Pulls) -> None:
    (model.root / ".llmspell").mkdir(parents=True)
    blob = sorted(_blobs(model))[0]
    other = Claim(model.root / ".llmspell" / f"{blob}.part", silent_seconds=60)
    assert other.take()
    timer = threading.Timer(1.0, other.release)
    timer.start()
    _stopped(model)
    timer.join()


def test_while_the_flow_is_limited(model: Pulls) -> None:
    _stopped(model, bytes_per_second=20_000)


def test_before_it_began(model: Pulls) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(Interrupted):
        model.pull(stop=stop)


def test_a_stopped_pull_goes_on_where_it_was(hub: Hub, model: Pulls) -> None:
    hub.fault(KEY, "stall", at=900_000)
    stop = threading.Event()

    def look(progress: Any) -> None:
        if progress.done > 700_000:
            stop.set()

    with pytest.raises(Interrupted):
        model.pull(pace=SLOW, stop=stop, report=look)
    hub.mend()
    before = hub.served(KEY)
    done = model.pull()
    assert done.metadata["downloaded"] < 400_000
    assert hub.served(KEY) - before < 400_000


def _blobs(model: Pulls) -> list[str]:
    return [file.etag for file in model.hub.repositories[REPOSITORY].resolve("main").files.values()]  # type: ignore[union-attr]


def test_a_limit_holds_for_one_pull(model: Pulls) -> None:
    """1 MiB at 1 MB/s; a fifth of a second's worth comes at once."""
    begun = time.monotonic()
    model.pull(model.request(bytes_per_second=1_000_000))
    assert time.monotonic() - begun >= 0.75


def test_a_limit_holds_for_all_pulls_together(hub: Hub, model: Pulls) -> None:
    hub.add("owner/other", pulls.files(seed=3))
    sources = hub.sources(bytes_per_second=2_000_000)
    other = Pulls(hub, model.cache)
    begun = time.monotonic()
    thread = threading.Thread(
        target=other.pull, args=(other.request("owner/other", sources=sources),)
    )
    thread.start()
    model.pull(model.request(sources=sources))
    thread.join()
    took = time.monotonic() - begun
    limit.EVERYBODY.set(0)
    assert took >= 0.75


def test_a_bucket_hands_out_at_its_rate() -> None:
    now = [0.0]
    bucket = limit.Bucket(1000, clock=lambda: now[0])
    assert bucket.take(500) == 0.5
    now[0] = 0.5
    assert bucket.take(0) == 0
    now[0] = 100.0
    assert bucket.take(200) == 0
    assert bucket.take(100) == pytest.approx(0.1)
    bucket.set(0)
    assert bucket.take(10**9) == 0
    assert bucket.most(12345) == 12345
