"""The engine without its network: requests in, progress and text out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from llmspell_jupyter.engine.backend import Finished, Reading, Token
from llmspell_jupyter.engine.jobs import Job, Jobs
from llmspell_jupyter.engine.supervisor import Post, Supervisor
from llmspell_jupyter.errors import WorkerDied
from llmspell_jupyter.models import spec, store
from llmspell_jupyter.types import (
    Chunk,
    Completion,
    GenerationRequest,
    LoadOptions,
    ModelInfo,
    Phase,
    Progress,
)


class Engine:
    """Serves models. Use from one event loop.

    Args:
        queue_limit: Requests that may wait for one model.
    """

    def __init__(self, queue_limit: int = 64):
        self.jobs = Jobs()
        self.supervisor = Supervisor(queue_limit)

    def models(self) -> list[ModelInfo]:
        """Models on this machine."""
        return store.installed()

    async def generate(
        self, request: GenerationRequest, client: str
    ) -> AsyncGenerator[Progress | Chunk | Completion, None]:
        """Answer a request. Closing the iterator cancels it at once.

        Yields:
            Progress while it waits, chunks as they come, last the completion.

        Raises:
            LLMSpellError: Before the first yield when the request is refused, later when it fails.
        """
        model = await asyncio.to_thread(store.resolve, spec.parse(request.model))
        options = _effective(request.options, model)
        post = self.supervisor.post(model, options)
        with self.jobs.run(model.id, client) as job, post.queue.join() as ticket:
            async for ahead in ticket.wait():
                job.ahead = ahead
                yield Progress(Phase.QUEUED, ahead)
            load_ms = 0.0
            if not post.is_loaded:
                job.phase = Phase.LOADING
                yield Progress(Phase.LOADING)
                load_ms = (await post.ready_worker()).load_ms
            async with aclosing(_answer(post, request, job)) as answer:
                async for each in answer:
                    if isinstance(each, Completion):
                        each = replace(each, metadata=each.metadata | {"load_ms": round(load_ms)})
                    yield each

    def status(self) -> dict[str, Any]:
        """Workers and jobs as JSON values."""
        return {
            "workers": self.supervisor.to_wire(),
            "jobs": [job.to_wire() for job in self.jobs],
        }

    async def close(self) -> None:
        """End all workers."""
        await self.supervisor.close()


async def _answer(
    post: Post, request: GenerationRequest, job: Job
) -> AsyncGenerator[Progress | Chunk | Completion, None]:
    worker = await post.ready_worker()
    job.phase = Phase.READING
    yield Progress(Phase.READING)
    text: list[str] = []
    async with aclosing(worker.generate(job.id, request)) as events:
        async for event in events:
            if isinstance(event, Reading):
                yield Progress(Phase.READING, event.done, event.total)
            elif isinstance(event, Token):
                job.count(event.tokens)
                text.append(event.text)
                yield Chunk(event.text, event.tokens)
            elif isinstance(event, Finished):
                if event.text:
                    text.append(event.text)
                    yield Chunk(event.text, job.tokens)
                yield Completion(
                    "".join(text), event.reason, _metadata(post, worker.facts, event, job)
                )
                return
    raise WorkerDied(f"The worker of {post.model.id} ended without an answer.")


def _metadata(post: Post, facts: dict[str, Any], finished: Finished, job: Job) -> dict[str, Any]:
    first = job.time_to_first_token_ms
    facts = {
        "model": post.model.id,
        "backend": post.model.backend,
        **facts,
        **finished.usage,
        "finish_reason": finished.reason,
        "time_to_first_token_ms": first,
    }
    # Tenths are finer than what a clock of a busy machine tells.
    return {key: round(each, 1) if isinstance(each, float) else each for key, each in facts.items()}


def _effective(options: LoadOptions, model: ModelInfo) -> LoadOptions:
    """The options with what the model itself decides filled in, so that equal loads are equal."""
    if options.context_size == 0 and model.context_length:
        return replace(options, context_size=model.context_length)
    return options
