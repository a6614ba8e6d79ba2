"""Which workers run: one for each model and way of loading it, started when it is needed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any, NamedTuple

from llmspell_jupyter.engine.queue import Queue
from llmspell_jupyter.engine.worker_process import WorkerProcess
from llmspell_jupyter.errors import LLMSpellError
from llmspell_jupyter.types import LoadOptions, ModelInfo


class _Key(NamedTuple):
    path: str
    modified_at: int
    backend: str
    options: LoadOptions


class Post:
    """A model's place in the engine: the queue before it and the worker behind it."""

    def __init__(self, model: ModelInfo, backend: str, options: LoadOptions, queue_limit: int):
        self.model = model
        self.options = options
        self.queue = Queue(queue_limit, seats=options.max_concurrent)
        self.worker: WorkerProcess | None = None
        self._backend = backend

    async def load(self) -> AsyncGenerator[int, None]:
        """Get a worker ready; only who has a seat in the queue may ask.

        Yields:
            Thousandths of the load that are done. Leaving early gives the load up, unless others
            wait for it.

        Raises:
            LLMSpellError: The model cannot be loaded.
        """
        if self.worker is None or self.worker.state == "dead":
            self.worker = WorkerProcess(self.model, self._backend, self.options)
            self.worker.start()
        worker = self.worker
        try:
            async for done in worker.loading():
                yield done
        except LLMSpellError:
            self._dismiss(worker)
            await worker.stop()
            raise
        finally:
            if worker.state == "loading" and len(self.queue) <= 1:
                self._dismiss(worker)
                worker.abandon()

    async def unload(self) -> bool:
        """End the worker and wait for its end; False when there is none."""
        worker, self.worker = self.worker, None
        if worker is None:
            return False
        await worker.stop()
        return True

    def _dismiss(self, worker: WorkerProcess) -> None:
        # Another may have been started in its place meanwhile.
        if self.worker is worker:
            self.worker = None

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
            "waiting": self.queue.waiting,
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

    def post(self, model: ModelInfo, backend: str, options: LoadOptions) -> Post:
        """The place of this model, loaded in this way."""
        where = str(model.path) if model.path.parts else model.id
        key = _Key(where, model.modified_at, backend, options)
        if key not in self._posts:
            self._posts[key] = Post(model, backend, options, self._queue_limit)
        return self._posts[key]

    def model(self, name: str) -> ModelInfo | None:
        """The model of this id or path that has a worker."""
        return next(
            (
                post.model
                for post in self._posts.values()
                if post.worker is not None and name in (post.model.id, str(post.model.path))
            ),
            None,
        )

    async def unload(self, model: ModelInfo) -> int:
        """End the workers of a model and wait for their end; how many there were."""
        ended = await asyncio.gather(
            *(
                post.unload()
                for post in self._posts.values()
                if (post.model.id, post.model.path) == (model.id, model.path)
            )
        )
        return sum(ended)

    def to_wire(self) -> list[dict[str, Any]]:
        """The posts that have a worker, as JSON values."""
        return [post.to_wire() for post in self._posts.values() if post.worker is not None]

    async def close(self) -> None:
        """End all workers."""
        workers = [post.worker for post in self._posts.values() if post.worker is not None]
        await asyncio.gather(*(worker.stop() for worker in workers))
