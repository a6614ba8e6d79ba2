"""A model's place in the engine: the queue before it and the worker behind it."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from llmspell_jupyter.engine import memory
from llmspell_jupyter.engine.queue import Queue
from llmspell_jupyter.engine.residency import Resident
from llmspell_jupyter.engine.restarts import Restarts
from llmspell_jupyter.engine.worker_process import WorkerProcess
from llmspell_jupyter.errors import LLMSpellError
from llmspell_jupyter.models import store
from llmspell_jupyter.models.need import Need
from llmspell_jupyter.types import LoadOptions, ModelInfo


@dataclass(frozen=True, slots=True)
class Bounds:
    """What an engine grants.

    Attributes:
        queue_limit: Requests that may wait for one model.
        client_queue_limit: Requests of one client that may wait for one model.
        memory_limit_bytes: Most memory for all models together; 0 is what is free.
        model_ttl_seconds: Time without a request after which a model leaves; 0 is never.
        pinned: Names of models that stay once they are loaded.
    """

    queue_limit: int = 64
    client_queue_limit: int = 32
    memory_limit_bytes: int = 0
    model_ttl_seconds: float = 0.0
    pinned: tuple[str, ...] = ()


class Post:
    """A model's place in the engine.

    Attributes:
        model: The model.
        backend: Name of the backend that runs it.
        options: How it is loaded.
        queue: Those who wait for it.
        worker: The process that holds it, if there is one.
        need: What it was estimated to take when it was loaded; None when nothing told.
        outdated: Whether its file has been replaced since.
        restarts: Decides whether another process is started after some have died.

    Args:
        model: The model.
        backend: Name of the backend that runs it.
        options: How to load it.
        bounds: What the engine grants.
        admit: Makes room and starts the worker, unless somebody else has.
        idle: Called when the last of its users has left.
    """

    def __init__(
        self,
        model: ModelInfo,
        backend: str,
        options: LoadOptions,
        bounds: Bounds,
        *,
        admit: Callable[[Post], Awaitable[None]],
        idle: Callable[[], None],
    ):
        self.model = model
        self.backend = backend
        self.options = options
        self.queue = Queue(
            bounds.queue_limit,
            seats=options.max_concurrent,
            client_limit=bounds.client_queue_limit,
        )
        self.worker: WorkerProcess | None = None
        self.need: Need | None = None
        self.outdated = False
        self.restarts = Restarts(model.id)
        self._pinned = any(store.is_named(name, model) for name in bounds.pinned)
        self._ttl = bounds.model_ttl_seconds
        self._admit = admit
        self._idle = idle
        self._users = 0
        self._left_at = 0.0
        self._endings: set[asyncio.Task[None]] = set()

    @contextmanager
    def use(self) -> Iterator[None]:
        """Keep the model from leaving while the block runs; a load ends with its last user."""
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1
            if not self._users:
                self._left_at = time.monotonic()
                if self.worker is not None and self.worker.state == "loading":
                    self._dismiss(self.worker)
                self._idle()

    async def load(self) -> AsyncGenerator[int, None]:
        """Get a worker ready; only who uses the model and has a seat in the queue may ask.

        Yields:
            Thousandths of the load that are done. It goes on for others when one leaves early.

        Raises:
            NotEnoughMemory: There is no room for it.
            CrashLoop: Its processes keep dying.
            LLMSpellError: The model cannot be loaded.
        """
        self.restarts.check()
        while not self.has_worker and (pause := self.restarts.pause()):
            yield 0
            await asyncio.sleep(pause)
        await self._admit(self)
        worker = self.worker
        assert worker is not None
        try:
            async for done in worker.loading():
                yield done
        except LLMSpellError:
            self._dismiss(worker)
            await self.ended()
            raise

    def start(self, need: Need | None) -> None:
        """Start a worker, which takes so much."""
        self.need = need
        self.worker = WorkerProcess(self.model, self.backend, self.options, self._note_end)
        self.worker.start()

    def _note_end(self, worker: WorkerProcess, death: LLMSpellError | None) -> None:
        if worker.answered:
            self.restarts.forget()
        elif death is not None:
            self.restarts.died(death)

    def end(self) -> bool:
        """Begin to end the worker; False when there is none."""
        if self.worker is None:
            return False
        self._dismiss(self.worker)
        return True

    async def ended(self) -> None:
        """Wait until the processes that are to end have ended."""
        if self._endings:
            await asyncio.wait(self._endings)

    async def unload(self) -> bool:
        """End the worker and wait for its end; False when there is none."""
        had_one = self.end()
        await self.ended()
        return had_one

    def _dismiss(self, worker: WorkerProcess) -> None:
        # Another may have been started in its place meanwhile.
        if self.worker is worker:
            self.worker = None
        # A task of its own: whoever waits for the end may be cancelled.
        ending = asyncio.create_task(worker.stop())
        self._endings.add(ending)
        ending.add_done_callback(self._endings.discard)

    @property
    def is_loaded(self) -> bool:
        """True when a worker holds the model now."""
        return self.worker is not None and self.worker.state == "ready"

    @property
    def has_worker(self) -> bool:
        """True when a worker holds the model or loads it."""
        return self.worker is not None and self.worker.state != "dead"

    @property
    def is_used(self) -> bool:
        """True while anybody uses it, a process of its has not ended, or a death is remembered."""
        return bool(self._users or self.worker or self._endings or self.restarts.deaths)

    @property
    def idle_since(self) -> float | None:
        """When its last user left, as ``time.monotonic``; None in use or without a model."""
        return None if self._users or not self.is_loaded else self._left_at

    @property
    def unjudged(self) -> str:
        """Why its need is not held against the machine's memory; empty when it is."""
        if self.worker is not None and self.worker.facts.get("device") == "cpu":
            return ""
        return memory.unjudged(self.options, sys.platform)

    @property
    def size(self) -> int:
        """Bytes of the machine's memory that are kept for it."""
        return self.need.total if self.need and self.has_worker and not self.unjudged else 0

    def resident(self, name: str) -> Resident:
        """It as a loaded model of this name."""
        return Resident(name, self.size, self.idle_since, pinned=self._pinned, ttl=self._ttl)

    def to_wire(self) -> dict[str, Any]:
        """Model, worker, memory and queue as JSON values."""
        worker, now = self.worker, time.monotonic()
        leaves_at = self.resident("").leaves_at
        return {
            "model": self.model.id,
            "state": worker.state if worker else "unloaded",
            "pid": worker.pid if worker else None,
            "load_ms": round(worker.load_ms, 1) if worker else None,
            "need_bytes": self.need.total if self.need else None,
            "rss_bytes": memory.resident(worker.pid) if worker and worker.pid else None,
            "memory_note": self.unjudged,
            "idle_seconds": None if self.idle_since is None else round(now - self.idle_since, 1),
            "leaves_in_seconds": None if leaves_at is None else round(max(0, leaves_at - now), 1),
            "ttl_seconds": self._ttl,
            "pinned": self._pinned,
            "waiting": self.queue.waiting,
            "queue": self.queue.snapshot(),
            **(worker.counts | worker.facts if worker else {}),
        }
