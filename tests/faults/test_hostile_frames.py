"""Frames that nobody of ours would send, to a worker and from one (E10)."""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from llmspell_jupyter.engine import frames, messages
from llmspell_jupyter.models import store
from llmspell_jupyter.types import EmbeddingRequest, GenerationRequest, Message, TokenizeRequest
from tests.support.broken_library import HostileLibrary
from tests.support.engines import PATIENCE, RunningEngine, engine
from tests.support.llama import info
from tests.support.tiny_gguf import write_tiny_gguf

#: Frames of each kind.
MANY = 10_000

LOAD = {"do": "load", "backend": "echo", "model": messages.model_to_wire(store.ECHO), "options": {}}

SOUND: list[dict[str, Any]] = [
    messages.request_to_wire(request)
    for request in (
        GenerationRequest("m", prompt="the sea is blue", max_tokens=3),
        GenerationRequest("m", messages=(Message("user", "the sea"),), max_tokens=3),
        EmbeddingRequest("m", ("the sea", "is blue"), 4),
        TokenizeRequest("m", prompt="the sea"),
    )
]

DEEP: Any = 1
for _ in range(200):
    DEEP = [DEEP]

EVIL = [
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, -(2**63), 10**400, 0.5, -1e308, 1e308),
    *("", "x", "x" * 5000, "\ud800", "\x00", "NaN", "../../etc/passwd", "{{ 7*7 }}"),
    *([], [[]], [None], [1, "a"], {}, {"a": 1}, {"role": "user"}, DEEP),
]


def changed(value: Any, random_: random.Random) -> Any:
    """The value with something in it replaced, left out or added."""
    if isinstance(value, dict) and value and random_.random() < 0.8:
        key = random_.choice(list(value))
        if random_.random() < 0.1:
            return {name: each for name, each in value.items() if name != key}
        return value | {key: changed(value[key], random_)}
    if isinstance(value, list | tuple) and value and random_.random() < 0.5:
        position = random_.randrange(len(value))
        return [changed(e, random_) if i == position else e for i, e in enumerate(value)]
    return random_.choice(EVIL)


def damaged(frame: bytes, random_: random.Random) -> bytes:
    """The frame with bytes changed, cut off or put in."""
    data = bytearray(frame)
    for _ in range(random_.randint(1, 4)):
        position = random_.randrange(len(data) or 1)
        kind = random_.randrange(4)
        if kind == 0 and data:
            data[position % len(data)] = random_.randrange(256)
        elif kind == 1:
            del data[position:]
        elif kind == 2:
            data[position:position] = random_.randbytes(random_.randint(1, 8))
        elif data:
            data[position % len(data)] ^= 1 << random_.randrange(8)
    return bytes(data)


def test_damaged_frames_are_frames_or_refused() -> None:
    random_ = random.Random(1)
    frame = frames.encode({"do": "start", "request_id": "r", "request": SOUND[0]})
    read = 0
    for _ in range(MANY):
        try:
            message = frames.read(io.BytesIO(damaged(frame, random_)))
            read += isinstance(message, dict)
        except frames.BadFrame:
            pass
    # Some damage leaves a frame, and most does not.
    assert 0 < read < MANY / 2


class Worker:
    """A real worker without an engine."""

    def __init__(self, process: subprocess.Popen[bytes]):
        self.process = process
        self.ended: dict[str, str] = {}
        self._told = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def send(self, message: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(frames.encode(message))

    def wait_for(self, *request_ids: str) -> None:
        """Wait until all of these requests have ended."""
        assert self.process.stdin is not None
        self.process.stdin.flush()
        with self._told:
            assert self._told.wait_for(
                lambda: set(request_ids) <= self.ended.keys() or not self._reader.is_alive(),
                timeout=PATIENCE * 2,
            ), "no answer in time"
        assert set(request_ids) <= self.ended.keys(), self.process.poll()

    def _read(self) -> None:
        assert self.process.stdout is not None
        while (message := frames.read(self.process.stdout)) is not None:
            kind = message.get("event")
            if kind in ("Finished", "Failed", "Embedded", "Tokenized"):
                with self._told:
                    assert message["request_id"] not in self.ended, "it ended twice"
                    self.ended[message["request_id"]] = kind
                    self._told.notify_all()
        with self._told:
            self._told.notify_all()


@contextmanager
def worker(load: dict[str, Any]) -> Iterator[Worker]:
    with subprocess.Popen(
        [sys.executable, "-m", "llmspell_jupyter.engine.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        made = Worker(process)
        made.send(load)
        try:
            yield made
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(PATIENCE)


@pytest.mark.parametrize("backend", ["echo", "llama_cpp"])
def test_each_hostile_request_ends_and_the_next_is_answered(backend: str, tmp_path: Path) -> None:
    load = LOAD
    if backend != "echo":
        model = messages.model_to_wire(info(write_tiny_gguf(tmp_path / "tiny.gguf")))
        options = {"cpu_threads": 1, "device": "cpu"}
        load = {"do": "load", "backend": backend, "model": model, "options": options}
    random_ = random.Random(2)
    with worker(load) as hostile:
        asked = [f"r{number}" for number in range(MANY // 2)]
        for request_id in asked:
            request = changed(random_.choice(SOUND), random_)
            hostile.send({"do": "start", "request_id": request_id, "request": request})
            if random_.random() < 0.1:
                of = random_.choice([request_id, "nobody", *EVIL])
                hostile.send({"do": "cancel", "request_id": of})
            if random_.random() < 0.1:
                hostile.send({"do": random_.choice(EVIL)})
        hostile.wait_for(*asked)
        assert {"Failed", "Finished", "Embedded", "Tokenized"} <= set(hostile.ended.values())
        # And it is as well as before.
        for number, request in enumerate(SOUND):
            hostile.send({"do": "start", "request_id": f"sound {number}", "request": request})
        hostile.wait_for(*(f"sound {number}" for number in range(len(SOUND))))
        ends = [hostile.ended[f"sound {number}"] for number in range(len(SOUND))]
        assert ends[0] == ends[1] == "Finished" and ends[3] == "Tokenized"
        assert hostile.process.poll() is None


NONSENSE = {
    "huge": b"\xff\xff\xff\xff",
    "too large": (frames.LARGEST + 1).to_bytes(4, "big") + b"{}",
    "cut": b"\x00\x00\x00\x10{",
    "half a length": b"\x00\x00",
    "nothing in it": b"\x00\x00\x00\x00",
    "bad UTF-8": b"\x00\x00\x00\x02\xff\xfe",
    "UTF-16": b"\x00\x00\x00\x06" + "{} ".encode("utf-16-le"),
    "deep": (200_000).to_bytes(4, "big") + b"[" * 200_000,
    "no object": b"\x00\x00\x00\x03[1]",
    "NaN": b'\x00\x00\x00\x0a{"do":NaN}',
    "pickle": len(pickle.dumps(LOAD)).to_bytes(4, "big") + pickle.dumps(LOAD),
    "bare pickle": pickle.dumps(LOAD),
    "HTTP": b"GET / HTTP/1.1\r\n\r\n",
}


def test_what_is_no_frame_ends_a_worker_with_the_reason() -> None:
    processes = {
        name: subprocess.Popen(
            [sys.executable, "-m", "llmspell_jupyter.engine.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for name in NONSENSE
    }
    for name, process in processes.items():
        with process:
            _, log = process.communicate(frames.encode(LOAD) + NONSENSE[name], PATIENCE)
            assert process.returncode == 0, (name, log)
            assert b"The engine sent what cannot be read: " in log, (name, log)
            assert b"Traceback" not in log, (name, log)


# From a worker, such as one in which a model file has got hold of the library.

FROM_WORKER: list[dict[str, Any] | bytes] = [
    {"loading": "half"},
    {"loading": None},
    {"loading": [1]},
    {"loaded": []},
    {"loaded": 3},
    {"failed": 3},
    {"failed": {"type": ["a"], "message": {}, "data": 3}},
    {},
    {"event": 7},
    {"event": "__class__"},
    {"event": "Token", "request_id": []},
    {"event": "Token", "request_id": "r", "text": 3, "tokens": "many"},
    {"event": "Finished", "request_id": "r", "reason": "boredom"},
    {"event": "Failed", "request_id": "r", "error": []},
    b"\x00\x00\x00\x05abc",
    b"\xff\xff\xff\xff",
    pickle.dumps(LOAD),
]


@pytest.fixture
def hostile(tmp_path: Path) -> Iterator[tuple[RunningEngine, HostileLibrary]]:
    library = HostileLibrary(tmp_path)
    with engine(**library.variables) as running:
        yield running, library


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="reaches a pipe through /proc")
def test_what_a_worker_sends_harms_nobody_else(
    hostile: tuple[RunningEngine, HostileLibrary], tmp_path: Path
) -> None:
    running, library = hostile
    model = write_tiny_gguf(tmp_path / "tiny.gguf")
    assert running.chat("hello").status_code == 200
    for number, message in enumerate(FROM_WORKER):
        library.says(message if isinstance(message, bytes) else frames.encode(message))
        # Options of its own: none of them is given up because of the others.
        options = {"context_size": 64 + number, "device": "cpu"}
        body = {"model": str(model), "prompt": "the sea", "llmspell": {"options": options}}
        answer = running.complete(**body)
        assert answer.status_code >= 400, message
        assert answer.json()["error"]["type"] in ("WorkerDied", "EngineError", "LLMSpellError"), (
            message,
            answer.text,
        )
        status = running.http.get("/api/status")
        assert status.status_code == 200 and status.json()["jobs"] == [], message
        assert running.chat("hello").status_code == 200
    assert os.getpid() != running.process.pid and running.process.is_running()
    assert json.loads(running.http.get("/v1/models").text)["data"]
