"""Jobs: what the engine is doing, and for whom."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from llmspell_jupyter.errors import Interrupted
from llmspell_jupyter.types import Phase

JobKind = Literal["answer", "embedding", "tokens", "load", "pull", "verify"]


def new_id() -> str:
    """An id that nobody can guess."""
    return uuid.uuid4().hex


@dataclass(slots=True)
class Job:
    """Work under way.

    Attributes:
        kind: What it makes.
        model: Id of the model.
        client: Who asked, such as ``kernel 4711``.
        phase: Where it stands.
        ahead: Requests ahead in the queue, while it is queued.
        tokens: Tokens written so far.
        tokens_per_second: Since its first token; None before the second.
    """

    kind: JobKind
    model: str
    client: str
    id: str = field(default_factory=new_id)
    phase: Phase = Phase.QUEUED
    ahead: int = 0
    tokens: int = 0
    started: float = field(default_factory=time.monotonic)
    first_token: float | None = None
    _task: asyncio.Task[Any] | None = field(default_factory=asyncio.current_task)
    _stopped: str = ""

    def cancel(self, why: str) -> None:
        """End it; whoever waits for it is told why."""
        if self._task is not None and not self._stopped:
            self._stopped = why
            self._task.cancel()

    def count(self, tokens: int) -> None:
        """Note that ``tokens`` have been written."""
        self.phase = Phase.ANSWERING
        self.tokens = tokens
        if self.first_token is None:
            self.first_token = time.monotonic()

    @property
    def tokens_per_second(self) -> float | None:
        """Speed since the first token."""
        if self.first_token is None or self.tokens < 2:
            return None
        return (self.tokens - 1) / max(time.monotonic() - self.first_token, 1e-6)

    @property
    def time_to_first_token_ms(self) -> float | None:
        """From the request to its first token, queue and loading included."""
        return None if self.first_token is None else (self.first_token - self.started) * 1000

    def to_wire(self) -> dict[str, Any]:
        """The job as JSON values."""
        speed = self.tokens_per_second
        return {
            "id": self.id,
            "kind": self.kind,
            "model": self.model,
            "client": self.client,
            "phase": str(self.phase),
            "ahead": self.ahead,
            "tokens": self.tokens,
            "tokens_per_second": None if speed is None else round(speed, 1),
            "seconds": round(time.monotonic() - self.started, 1),
        }

    @contextmanager
    def _listening(self) -> Iterator[None]:
        try:
            yield
        except asyncio.CancelledError:
            if not self._stopped or self._task is None:
                raise
            self._task.uncancel()
            raise Interrupted(self._stopped) from None


class Jobs:
    """The jobs that are running now."""

    def __init__(self) -> None:
        self._running: dict[str, Job] = {}

    def __iter__(self) -> Iterator[Job]:
        return iter(list(self._running.values()))

    @contextmanager
    def run(self, kind: JobKind, model: str, client: str) -> Iterator[Job]:
        """A job of the current task that is listed while the block runs.

        Raises:
            Interrupted: It was cancelled.
        """
        job = Job(kind, model, client)
        self._running[job.id] = job
        try:
            with job._listening():
                yield job
        finally:
            del self._running[job.id]

    def cancel(self, job_id: str) -> bool:
        """End a job; False when there is none of this id any more."""
        job = self._running.get(job_id)
        if job is not None:
            job.cancel("The job was cancelled.")
        return job is not None
