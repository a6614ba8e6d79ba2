"""P3: several pulls of the same model at the same time, and owners that are gone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from llmspell_jupyter.errors import PullError
from llmspell_jupyter.models.pull import claim
from llmspell_jupyter.models.pull.claim import Claim, Owner
from tests.support import pulls
from tests.support.hub_server import Hub
from tests.support.pulls import KEY, QUICK, REPOSITORY, Pulls

ROOT = Path(__file__).parents[3]

_PULL = """
import json, sys, threading
if "broken" in sys.argv:
    import fcntl
    fcntl.flock = fcntl.lockf = lambda *_: None
from llmspell_jupyter.models.pull import puller
from llmspell_jupyter.types import Lookup, PullRequest, Sources
request = PullRequest(sys.argv[2], lookup=Lookup(caches=(sys.argv[3],)), sources=Sources(endpoint=sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
done = puller.pull(request, lambda _: None, threading.Event())
print(json.dumps(done.metadata), flush=True)
"""


def start(model: Pulls, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", _PULL, model.hub.url, REPOSITORY, str(model.cache)]
    return subprocess.Popen(
        [*command, *arguments],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("locks", ["whole", "broken"])
def test_p3_ten_processes_fetch_a_model_once(hub: Hub, model: Pulls, locks: str) -> None:
    size = 8 * 1024**2
    hub.add(REPOSITORY, pulls.files(size))
    processes = [start(model, locks) for _ in range(10)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    outs = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0] * 10, outs
    fetched = [json.loads(out)["downloaded"] for out, _ in outs]
    assert model.published() == pulls.files(size)
    assert model.left() == []
    assert len([*(model.root / "blobs").iterdir()]) == 4
    assert hub.bytes_served < 1.1 * size
    assert sum(fetched) < 1.1 * size


def test_p3_who_waits_sees_how_far_the_other_is(hub: Hub, model: Pulls) -> None:
    stall = hub.fault(KEY, "stall", at=500_000, times=1)
    pace = replace(QUICK, stall_seconds=1.5)
    other = Pulls(hub, model.cache)
    first = threading.Thread(target=other.pull, kwargs={"pace": pace})
    first.start()
    deadline = time.monotonic() + 10
    while not stall.happened:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    done = model.pull()
    first.join()
    waiting = [each for each in model.reports if "waits" in each.note]
    assert waiting and waiting[-1].done > 100_000
    assert done.metadata["downloaded"] == 0
    assert hub.served(KEY) < 1.3 * 1024**2


def test_p3_the_claim_of_a_killed_process_is_taken_over(hub: Hub, model: Pulls) -> None:
    stall = hub.fault(KEY, "stall", at=900_000, times=1)
    process = start(model)
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    deadline = time.monotonic() + 20
    while not stall.happened:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert [*(model.root / ".llmspell").glob("*.claim")]
    model.pull()
    assert model.published() == pulls.files()
    assert model.left() == []


def test_what_one_left_who_was_killed_after_publishing_is_put_away(model: Pulls) -> None:
    model.pull()
    folder = model.root / ".llmspell"
    folder.mkdir()
    for name in ("0123456789" * 4, "snapshot-aaaaaaaa"):
        _write(folder / f"{name}.claim", _dead())
    (folder / "snapshot-aaaaaaaa.00000000").mkdir()
    (folder / "snapshot-aaaaaaaa.11111111").symlink_to("../../blobs/nothing")
    assert model.pull().metadata["downloaded"] == 0
    assert not folder.exists()


def test_what_another_one_is_about_to_publish_stays(hub: Hub, model: Pulls) -> None:
    folder = model.root / ".llmspell"
    folder.mkdir(parents=True)
    other = Claim(folder / "snapshot-aaaaaaaa.part", silent_seconds=5)
    assert other.take()
    staged = folder / "snapshot-aaaaaaaa.00000000"
    staged.mkdir()
    model.pull()
    model.pull()
    assert staged.is_dir() and other.path.exists()


class Clock:
    """Stands still unless it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def _claim(folder: Path, clock: Clock | None = None) -> Claim:
    more = {"clock": clock} if clock else {}
    return Claim(folder / "x.part", silent_seconds=5, **more)  # type: ignore[arg-type]


def _write(path: Path, owner: Owner) -> None:
    path.write_text(json.dumps({name: getattr(owner, name) for name in owner.__slots__}))


def _dead(machine: str | None = None) -> Owner:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return Owner(machine or claim._machine(), process.pid, time.time() - 100, "aaaaaaaa")


def test_one_of_two_has_a_claim(tmp_path: Path) -> None:
    first, second = _claim(tmp_path), _claim(tmp_path)
    assert first.take()
    assert not second.take()
    assert claim.is_alive(tmp_path / "x.part")
    first.release()
    assert not claim.is_alive(tmp_path / "x.part")
    assert second.take()
    second.release()
    assert [*tmp_path.iterdir()] == []


def test_a_claim_is_made_where_there_are_no_hard_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*_: object) -> None:
        raise OSError(95, "not supported")

    monkeypatch.setattr(os, "link", link)
    first, second = _claim(tmp_path), _claim(tmp_path)
    assert first.take()
    assert not second.take()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"machine": 1}'])
def test_a_claim_without_sense_is_waited_for_a_while(tmp_path: Path, content: str) -> None:
    """Its maker may be about to write it."""
    clock = Clock()
    mine = _claim(tmp_path, clock)
    mine.path.write_text(content)
    assert not mine.take()
    clock.now += 11
    assert mine.take()


def test_an_owner_on_another_machine_lives_as_long_as_it_shows_it(tmp_path: Path) -> None:
    clock = Clock()
    mine = _claim(tmp_path, clock)
    _write(mine.path, _dead("elsewhere"))
    for number in range(5):
        # Its clock may be wrong by any amount.
        os.utime(mine.path, (1000 + number, 1000 + number))
        assert not mine.take()
        clock.now += 4
    clock.now += 2
    assert mine.take()


def test_an_owner_with_the_number_of_a_later_process_is_gone(tmp_path: Path) -> None:
    mine = _claim(tmp_path)
    _write(mine.path, Owner(claim._machine(), os.getpid(), 12345.0, "aaaaaaaa"))
    assert mine.take()


def test_whoever_dies_while_taking_over_is_followed(tmp_path: Path) -> None:
    dead = _dead()
    mine = _claim(tmp_path)
    _write(mine.path, dead)
    _write(tmp_path / f"{mine.path.name}.{dead.nonce}", replace(dead, nonce="bbbbbbbb"))
    assert mine.take()
    mine.release()
    assert [*tmp_path.iterdir()] == []


def test_an_owner_notices_that_it_was_replaced(tmp_path: Path) -> None:
    mine = _claim(tmp_path)
    assert mine.take()
    mine.beat()
    _write(mine.path, replace(_dead(), nonce="cccccccc"))
    with pytest.raises(PullError, match="Another process"):
        mine.beat()
    mine.release()
    assert mine.path.exists()


def test_what_dead_processes_left_is_swept(tmp_path: Path) -> None:
    alive = _claim(tmp_path)
    assert alive.take()
    _write(tmp_path / "y.claim", _dead())
    _write(tmp_path / "1-aaaaaaaa.claim.new", _dead())
    claim.sweep(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["x.claim"]


_RACE = """
import sys, time
from pathlib import Path
from llmspell_jupyter.models.pull.claim import Claim
folder, until = Path(sys.argv[1]), time.monotonic() + float(sys.argv[2])
count = 0
while time.monotonic() < until:
    mine = Claim(folder / "x.part", silent_seconds=60)
    if not mine.take():
        continue
    # Only one may be here.
    (folder / "inside").mkdir()
    (folder / "inside").rmdir()
    count += 1
    if count % 3:
        mine.release()
    else:
        # As if killed: the claim names a process that is gone.
        text = mine.path.read_text()
        fresh = mine.path.with_name(f"{mine._me.nonce}.dead")
        fresh.write_text(text.replace(f'"pid": {mine._me.pid}', '"pid": 4194303'))
        fresh.replace(mine.path)
print(count)
"""


def test_p3_no_two_ever_hold_a_claim(tmp_path: Path) -> None:
    """Four processes take it, give it up, and die with it, as fast as they can."""
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", _RACE, str(tmp_path), "2"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    outs = [racer.communicate(timeout=60) for racer in racers]
    assert [racer.returncode for racer in racers] == [0] * 4, outs
    assert sum(int(out) for out, _ in outs) > 20
