"""Which workers run: one for each model and way of loading it, started when it is needed."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

from llmspell_jupyter.engine.queue import Queue
from llmspell_jupyter.engine.worker_process import WorkerProcess
from llmspell_jupyter.types import LoadOptions, ModelInfo


class _Key(NamedTuple):
    path: str
    modified_at: int
    options: LoadOptions


class Post:
    """A model's place in the engine: the queue before it and the worker behind it."""

    def __init__(self, model: ModelInfo, options: LoadOptions, queue_limit: int):
        self.model = model
        self.options = options
        self.queue = Queue(queue_limit)
        self.worker: WorkerProcess | None = None

    async def ready_worker(self) -> WorkerProcess:
        """A worker with the model loaded; only who is first in the queue may ask.

        Raises:
            LLMSpellError: The model cannot be loaded.
        """
        if self.worker is None or self.worker.state == "dead":
            self.worker = WorkerProcess(self.model, self.options)
            self.worker.start()
        worker = self.worker
        try:
            await worker.loaded()
        except Exception:
            self.worker = None
            await worker.stop()
            raise
        return worker

    @property
    def is_loaded(self) -> bool:
        """True when a worker holds the model now."""
        return self.worker is not None and self.worker.state == "ready"

    def to_wire(self) -> dict[str, Any]:
        """Model, worker and queue as JSON values."""
        worker = self.worker
        return {
            "model": self.model.id,
            "state": worker.state if worker else "unloaded",
            "pid": worker.pid if worker else None,
            "load_ms": round(worker.load_ms, 1) if worker else None,
            "waiting": max(len(self.queue) - 1, 0),
            **(worker.facts if worker else {}),
        }


class Supervisor:
    """All posts.

    Args:
        queue_limit: Requests that may wait for one model.
    """

    def __init__(self, queue_limit: int):
        self._queue_limit = queue_limit
        self._posts: dict[_Key, Post] = {}

    def post(self, model: ModelInfo, options: LoadOptions) -> Post:
        """The place of this model, loaded in this way."""
        key = _Key(str(model.path) or model.id, model.modified_at, options)
        if key not in self._posts:
            self._posts[key] = Post(model, options, self._queue_limit)
        return self._posts[key]

    def to_wire(self) -> list[dict[str, Any]]:
        """The posts that have a worker, as JSON values."""
        return [post.to_wire() for post in self._posts.values() if post.worker is not None]

    async def close(self) -> None:
        """End all workers."""
        workers = [post.worker for post in self._posts.values() if post.worker is not None]
        await asyncio.gather(*(worker.stop() for worker in workers))
