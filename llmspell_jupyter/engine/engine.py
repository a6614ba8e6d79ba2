"""The engine without its network: requests in, progress and text out."""

from __future__ import annotations

import asyncio
import base64
import sys
from array import array
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from llmspell_jupyter.config import paths
from llmspell_jupyter.engine import constraints, dispatch, fitting
from llmspell_jupyter.engine.backend import Embedded, Finished, Reading, Token, Tokenized
from llmspell_jupyter.engine.charges import Charges
from llmspell_jupyter.engine.fairness import ServiceClass
from llmspell_jupyter.engine.jobs import Job, JobKind, Jobs
from llmspell_jupyter.engine.metrics import Asked, Metrics
from llmspell_jupyter.engine.model_files import ModelFiles
from llmspell_jupyter.engine.post import Bounds, Post
from llmspell_jupyter.engine.queue import Ticket
from llmspell_jupyter.engine.speed import Speeds
from llmspell_jupyter.engine.supervisor import Supervisor
from llmspell_jupyter.engine.worker_process import WorkerProcess
from llmspell_jupyter.errors import EngineBusy
from llmspell_jupyter.models import spec, store
from llmspell_jupyter.types import (
    Chunk,
    Completion,
    EmbeddingRequest,
    Embeddings,
    EngineRequest,
    Fit,
    GenerationRequest,
    LoadOptions,
    LoadRequest,
    Lookup,
    ModelInfo,
    Phase,
    Progress,
    Ready,
    Result,
    Sources,
    TokenizeRequest,
    Tokens,
)

_KINDS: dict[type[EngineRequest], JobKind] = {
    GenerationRequest: "answer",
    EmbeddingRequest: "embedding",
    TokenizeRequest: "tokens",
    LoadRequest: "load",
}

_USUAL = Bounds()


class Engine:
    """Serves models. Use from one event loop.

    Args:
        bounds: What it grants.
    """

    def __init__(self, bounds: Bounds = _USUAL):
        self.jobs = Jobs()
        self.supervisor = Supervisor(bounds)
        self.metrics = Metrics()
        self.speeds = Speeds(paths.measured_speeds(), busy=lambda: any(self.jobs))
        self.files = ModelFiles(self.supervisor, self.jobs, self.metrics)

    def models(self, lookup: Lookup) -> list[ModelInfo]:
        """Models on this machine."""
        return store.installed(lookup=lookup)

    def answer(
        self,
        request: EngineRequest,
        client: str,
        service: ServiceClass = ServiceClass.INTERACTIVE,
    ) -> AsyncGenerator[Progress | Chunk | Result, None]:
        """Answer a request. Closing the iterator cancels it at once.

        Args:
            request: What to answer.
            client: Who asks; all its requests share what one client gets.
            service: How much it waits for the answer.

        Yields:
            Progress while it waits, chunks as they come, last the result.

        Raises:
            LLMSpellError: Before the first yield when the request is refused, later when it fails.
        """
        asked = Asked(_KINDS[type(request)])
        return self.metrics.measured(asked, self._respond(request, client, service, asked))

    async def _respond(
        self, request: EngineRequest, client: str, service: ServiceClass, asked: Asked
    ) -> AsyncGenerator[Progress | Chunk | Result, None]:
        unheld = await constraints.check(request) if isinstance(request, GenerationRequest) else ""
        model = await asyncio.to_thread(store.resolve, request.model, request.lookup)
        asked.model = model.id
        choice = await asyncio.to_thread(dispatch.choose, model, request)
        asked.backend = choice.backend
        post = self.supervisor.post(model, choice.backend, _effective(request.options, model))
        kind = _KINDS[type(request)]
        with (
            self.jobs.run(kind, model.id, client) as job,
            post.use(),
            _place(post, request, client, service) as ticket,
        ):
            async for ahead in ticket.wait():
                job.ahead = ahead
                yield Progress(Phase.QUEUED, ahead)
            loaded = 0.0
            if not post.is_loaded:
                job.phase = Phase.LOADING
                if isinstance(request, LoadRequest):
                    self.supervisor.forgive(model)
                async with aclosing(post.load()) as load:
                    async for done in load:
                        yield Progress(Phase.LOADING, done, 1000)
                loaded = worker_of(post).load_ms
            facts: dict[str, Any] = {"load_ms": round(loaded)}
            if choice.reason:
                facts["engine_backend_reason"] = choice.reason
            if unheld:
                facts["schema_warning"] = unheld
                yield Progress(Phase.READING, note=unheld)
            async with aclosing(_answer(post, request, job, Charges(ticket))) as answer:
                async for each in answer:
                    if isinstance(each, Progress | Chunk):
                        yield each
                    else:
                        self.speeds.note(each.metadata, model, post.options)
                        yield replace(each, metadata=each.metadata | facts)

    async def unload(self, request: LoadRequest, *, force: bool) -> int:
        """End the workers of a model, whatever its options; their memory is free afterwards.

        Args:
            request: Names the model.
            force: Also while it works; those who wait for it are told.

        Returns:
            How many workers ended.

        Raises:
            EngineBusy: It works, and ``force`` is false.
            ModelNotFound: No such model is loaded or on this machine.
        """
        model = self.supervisor.model(request.model)
        if model is None:
            model = await asyncio.to_thread(store.resolve, request.model, request.lookup)
        busy = [job for job in self.jobs if job.model == model.id]
        if busy and not force:
            works = f"{len(busy)} {'request' if len(busy) == 1 else 'requests'}"
            raise EngineBusy(
                f"{model.id} works on {works}.",
                hint=f"Wait for it, or end it; type: %model_unload {spec.typed(model.id)} --force",
                data={"model": model.id, "requests": len(busy)},
            )
        # Before those who use it leave: with the last of them a load ends by itself.
        ending = self.supervisor.end(model)
        for job in busy:
            job.cancel(f"{model.id} was unloaded.")
        await self.supervisor.ended(model)
        return ending

    def status(self) -> dict[str, Any]:
        """Workers and jobs as JSON values; ``ended`` are downloads and checks that are over."""
        return {
            "workers": self.supervisor.to_wire(),
            "jobs": [job.to_wire() for job in (*self.jobs, *self.files.pulls)],
            "ended": [job.to_wire() for job in self.files.pulls.ended()],
        }

    async def fit(self, name: str, options: LoadOptions, lookup: Lookup, sources: Sources) -> Fit:
        """Whether a model fits on this machine, and how fast it would be; ``fitting.judge``."""
        return await fitting.judge(
            *(name, options, lookup, sources), supervisor=self.supervisor, speeds=self.speeds
        )

    def cancel(self, job_id: str) -> bool:
        """End a job; False when there is none of this id any more."""
        return self.jobs.cancel(job_id) or self.files.pulls.cancel(job_id)

    async def close(self) -> None:
        """End all downloads and workers."""
        await asyncio.gather(self.files.pulls.close(), self.supervisor.close())
        await self.speeds.close()


def worker_of(post: Post) -> WorkerProcess:
    """The worker of a post that is loaded."""
    assert post.worker is not None
    return post.worker


def _place(post: Post, request: EngineRequest, client: str, service: ServiceClass) -> Ticket:
    """A place in the queue; what takes no time on a loaded model does not wait."""
    quick = isinstance(request, LoadRequest | TokenizeRequest) and post.is_loaded
    return post.queue.pass_by() if quick else post.queue.join(client, service)


async def _answer(
    post: Post, request: EngineRequest, job: Job, charges: Charges
) -> AsyncGenerator[Progress | Chunk | Result, None]:
    worker = worker_of(post)
    note = worker.facts.get("device_warning", "")
    if isinstance(request, LoadRequest):
        yield Progress(Phase.LOADING, 1000, 1000, note)
        yield Ready(_metadata(post, {}, job))
        return
    job.phase = Phase.READING
    yield Progress(Phase.READING, note=note)
    chunks: list[Chunk] = []
    async with aclosing(worker.answer(job.id, request)) as events:
        async for event in events:
            charges.note(event)
            if isinstance(event, Reading):
                yield Progress(Phase.READING, event.done, event.total)
            elif isinstance(event, Token):
                job.count(event.tokens)
                chunks.append(_chunk(event))
                yield chunks[-1]
            elif isinstance(event, Finished):
                if event.text:
                    chunks.append(Chunk(event.text, job.tokens))
                    yield chunks[-1]
                completion = _completion(chunks, event, _metadata(post, event.usage, job))
                if isinstance(request, GenerationRequest):
                    await constraints.check_answer(request, completion)
                yield completion
            elif isinstance(event, Embedded):
                vectors = tuple(map(_numbers, event.vectors))
                yield Embeddings(vectors, _metadata(post, event.usage, job))
            elif isinstance(event, Tokenized):
                yield Tokens(event.ids, _metadata(post, {}, job))


def _chunk(event: Token) -> Chunk:
    return Chunk(event.text, event.tokens, (event.logprob,) if event.logprob else ())


def _completion(chunks: list[Chunk], event: Finished, metadata: dict[str, Any]) -> Completion:
    return Completion(
        "".join(chunk.text for chunk in chunks),
        event.reason,
        metadata | {"finish_reason": event.reason},
        tuple(each for chunk in chunks for each in chunk.logprobs),
    )


def _numbers(vector: str) -> tuple[float, ...]:
    numbers = array("f", base64.b64decode(vector))
    if sys.byteorder == "big":
        numbers.byteswap()
    return tuple(numbers)


def _metadata(post: Post, usage: dict[str, Any], job: Job) -> dict[str, Any]:
    facts = {
        "model": post.model.id,
        "backend": post.model.backend,
        **worker_of(post).facts,
        **usage,
    }
    if first := job.time_to_first_token_ms:
        facts["time_to_first_token_ms"] = first
    # Tenths are finer than what a clock of a busy machine tells.
    return {key: round(each, 1) if isinstance(each, float) else each for key, each in facts.items()}


def _effective(options: LoadOptions, model: ModelInfo) -> LoadOptions:
    """The options with what the model itself decides filled in, so that equal loads are equal."""
    if options.context_size == 0 and model.context_length:
        return replace(options, context_size=model.context_length)
    return options
