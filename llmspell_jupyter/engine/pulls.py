"""Jobs that fetch or check models. They outlive whoever watches them."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any

from llmspell_jupyter.engine.jobs import JobKind
from llmspell_jupyter.engine.pull_job import Discard, PullJob, Work
from llmspell_jupyter.errors import EngineUnavailable, LLMSpellError, RequestError
from llmspell_jupyter.types import PullProgress

# Jobs of a kind that work at a time. More downloads would share the same line, and more checks
# the same disk.
_SEATS: dict[JobKind, int] = {"pull": 4, "verify": 2}
_NAMES = {"pull": ("download", "downloads"), "verify": ("check", "checks")}

# How long the last word of a job is kept, and of how many.
_KEPT_SECONDS = 3600.0
_MOST_KEPT = 50

# What jobs have to end in when the engine does. The rest is left to its end.
_GRACE_SECONDS = 3.0


class Pulls:
    """The jobs that fetch or check models. Use from one event loop.

    Args:
        ended: Called with each job that has ended.
        clock: Seconds of any clock that never goes back.
    """

    def __init__(
        self,
        ended: Callable[[PullJob], None] = lambda job: None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._ended = ended
        self._clock = clock
        self._running: dict[str, PullJob] = {}
        # Those that have ended with the time of that, the oldest first.
        self._kept: dict[str, tuple[float, PullJob]] = {}
        self._quiet = asyncio.Event()
        self._closed = False

    def __iter__(self) -> Iterator[PullJob]:
        return iter(list(self._running.values()))

    def ended(self) -> list[PullJob]:
        """The last of each model and kind of those that have ended, for a while, oldest first.

        Those of which nothing is kept are left out.
        """
        self._tidy()
        last = {(job.kind, job.model): job for _, job in self._kept.values()}
        return [job for job in last.values() if not job.discards]

    def start(
        self,
        kind: JobKind,
        key: Hashable,
        model: str,
        client: str,
        work: Work,
        *,
        secret: str | None = None,
        discard: Discard | None = None,
        asked: Mapping[str, Any] = MappingProxyType({}),
    ) -> PullJob:
        """The job that does this: one under way with the same key, or a new one.

        Args:
            kind: ``pull`` or ``verify``.
            key: What it does.
            model: What to call the model until the work says its id.
            client: Who asks.
            work: What to do; called on a thread of its own.
            secret: Text that is told to nobody, such as a token.
            discard: Throws away what has come of it.
            asked: Values that ask for the same again.

        Raises:
            EngineUnavailable: The engine is about to end.
        """
        if self._closed:
            raise EngineUnavailable("The engine is about to end.", hint="Run the cell again.")
        for job in self._running.values():
            if (job.kind, job.key) == (kind, key):
                if not job.is_stopping:
                    return job
                # What has come of it is wanted again.
                job.discards = False
        job = PullJob(kind, key, model, client, work, secret or "", discard, asked)
        self._running[job.id] = job
        self._advance()
        return job

    def find(self, job_id: str) -> PullJob:
        """The job of this id, also for a while after its end.

        Raises:
            RequestError: There is none.
        """
        self._tidy()
        if job := self._running.get(job_id):
            return job
        if job_id not in self._kept:
            raise RequestError(
                "There is no such download or check any more.",
                hint="%llmspell_status shows what the engine does.",
                data={"param": "job"},
            )
        return self._kept[job_id][1]

    def cancel(self, job_id: str) -> bool:
        """Tell a job to end; False when none of this id runs any more."""
        job = self._running.get(job_id)
        if job is None:
            return False
        self._stop(job, f"The {_NAMES[job.kind][0]} of {job.model} was cancelled.")
        return True

    async def discard(self, job_id: str) -> tuple[bool, int]:
        """End a pull, wait for its end, and throw away what has come of it.

        What another job or process fetches, or waits for, stays, and so does what a server of
        Ollama's fetched: it tidies up when it starts. A pull that has ended already, a paused one
        for instance, loses what had come, too.

        Returns:
            Whether it was ended by this, and the bytes that were thrown away.

        Raises:
            RequestError: There is no such job any more.
        """
        job = self.find(job_id)
        if job.discard is None:
            return self.cancel(job_id), 0
        job.discards = not job.is_over
        cancelled = self.cancel(job_id)
        await job.ended()
        # Who asked for the same meanwhile goes on with it.
        wanted = (cancelled and not job.discards) or self._is_wanted(job)
        if job.error is None or wanted:
            return cancelled, 0
        job.discards = True
        return cancelled, await asyncio.to_thread(job.discard, job.files)

    async def close(self) -> None:
        """Tell all jobs to end, and wait a little for it."""
        self.stop()
        with suppress(TimeoutError):
            async with asyncio.timeout(_GRACE_SECONDS):
                while self._running:
                    self._quiet.clear()
                    await self._quiet.wait()

    def stop(self) -> None:
        """Tell all jobs to end because the engine does; no further one is started."""
        self._closed = True
        for job in self:
            self._stop(job, f"The engine was stopped during the {_NAMES[job.kind][0]}.")

    def _is_wanted(self, job: PullJob) -> bool:
        """Whether a job under way, and not told to end, does the same."""
        key = (job.kind, job.key)
        return any((each.kind, each.key) == key and not each.is_stopping for each in self)

    def _stop(self, job: PullJob, why: str) -> None:
        job.stop(why)
        if not job.is_working:
            self._end(job, job.interrupted())

    def _end(self, job: PullJob, outcome: PullProgress | LLMSpellError) -> None:
        job.end(outcome)
        del self._running[job.id]
        self._kept[job.id] = (self._clock(), job)
        self._tidy()
        self._quiet.set()
        self._ended(job)
        self._advance()

    def _advance(self) -> None:
        """Begin what can begin, and tell the others how many have to end before."""
        working: Counter[JobKind] = Counter()
        waiting: Counter[JobKind] = Counter()
        busy = set()
        for job in self._running.values():
            if job.is_working:
                working[job.kind] += 1
                busy.add((job.kind, job.key))
        for job in self:
            if job.is_working or job.is_stopping:
                continue
            if (job.kind, job.key) in busy:
                # Of the same files: one that was told to end has not ended yet.
                job.note("waiting for the end of the one that was cancelled")
            elif working[job.kind] < _SEATS[job.kind]:
                working[job.kind] += 1
                busy.add((job.kind, job.key))
                job.begin(self._end)
            else:
                waiting[job.kind] += 1
                count = waiting[job.kind]
                job.note(f"waiting for {count} other {_NAMES[job.kind][count > 1]}")

    def _tidy(self) -> None:
        oldest = self._clock() - _KEPT_SECONDS
        late = [name for name, (ended, _) in self._kept.items() if ended < oldest]
        for name in {*late, *[*self._kept][:-_MOST_KEPT]}:
            del self._kept[name]
