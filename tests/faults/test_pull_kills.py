"""P1: a pull that is killed at any moment goes on where it was."""

from __future__ import annotations

import contextlib
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.support import hub_server, pulls
from tests.support.pulls import KEY, REPOSITORY, Pulls

ROOT = Path(__file__).parents[2]
SIZE = 40 * 1024**2
KILLS = 50
CONNECTIONS = 6

# Children of one process pull, so that no time is lost with starting Python. It kills them, too:
# nobody else knows that a number is theirs still.
_PULLS = """
import os, signal, sys, threading, time
from llmspell_jupyter.models import hub
from llmspell_jupyter.models.pull import puller
from llmspell_jupyter.types import Lookup, PullRequest, Sources
import huggingface_hub
def request(cache):
    return PullRequest(sys.argv[2], lookup=Lookup(caches=(cache,)), sources=Sources(endpoint=sys.argv[1]))
for line in sys.stdin:
    cache, seconds = line.split()
    child = os.fork()
    if not child:
        try:
            puller.pull(request(cache), lambda _: None, threading.Event())
            os._exit(0)
        finally:
            os._exit(1)
    until = time.monotonic() + float(seconds)
    ended, status = os.waitpid(child, os.WNOHANG)
    while not ended and time.monotonic() < until:
        time.sleep(0.005)
        ended, status = os.waitpid(child, os.WNOHANG)
    if not ended:
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
"""


def test_p1_fifty_kills_cost_next_to_nothing(tmp_path: Path) -> None:
    """Killed 50 times, in stores of their own: identical bytes, nothing left behind."""
    source = tmp_path / pulls.WEIGHTS
    source.write_bytes(pulls.weights(SIZE))
    wanted = source.read_bytes()
    draw = random.Random(1)
    kills = 0
    with contextlib.ExitStack() as closing, hub_server.hub() as hub:
        hub.add(REPOSITORY, {**pulls.files(), pulls.WEIGHTS: source})
        process = subprocess.Popen(
            [sys.executable, "-c", _PULLS, hub.url, REPOSITORY, str(tmp_path / "first")],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        closing.enter_context(process)
        assert process.stdin is not None and process.stdout is not None
        rounds = 0
        while kills < KILLS:
            rounds += 1
            model = Pulls(hub, tmp_path / str(rounds))
            before, killed_here = hub.served(KEY), 0
            while True:
                last = kills == KILLS or killed_here == 10
                seconds = 60 if last else draw.uniform(0.01, 0.35)
                process.stdin.write(f"{model.cache} {seconds}\n")
                process.stdin.flush()
                status = int(process.stdout.readline())
                if status == 0:
                    break
                assert status == -signal.SIGKILL
                kills += 1
                killed_here += 1
            _settle(hub)
            assert model.published()[pulls.WEIGHTS] == wanted
            assert model.left() == []
            served = hub.served(KEY) - before
            assert served <= 1.1 * SIZE + killed_here * CONNECTIONS * 1024**2
        process.stdin.close()
        assert process.wait(10) == 0


def _settle(hub: hub_server.Hub) -> None:
    """Wait until the server has seen that its clients are gone."""
    deadline = time.monotonic() + 10
    while any(each.status == 0 for each in hub.requests):
        assert time.monotonic() < deadline
        time.sleep(0.01)
