"""Jobs that fetch or check models. They outlive whoever watches them."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
import traceback
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

from llmspell_jupyter.engine import messages
from llmspell_jupyter.engine.jobs import JobKind, new_id
from llmspell_jupyter.errors import (
    SEE_LOGS,
    EngineError,
    EngineUnavailable,
    Interrupted,
    LLMSpellError,
    RequestError,
    from_wire,
)
from llmspell_jupyter.types import PullPhase, PullProgress

_log = logging.getLogger(__name__)

Report = Callable[[PullProgress], None]

#: What a job does on a thread of its own: says how far it is, ends soon after the event is set,
#: and returns the last word.
Work = Callable[[Report, threading.Event], PullProgress]

#: Throws away what has come of these files, on a thread of its own; the bytes of it.
Discard = Callable[[Sequence[str]], int]

# Jobs of a kind that work at a time. More downloads would share the same line, and more checks
# the same disk.
_SEATS: dict[JobKind, int] = {"pull": 4, "verify": 2}
_NAMES = {"pull": ("download", "downloads"), "verify": ("check", "checks")}

# How long the last word of a job is kept, and of how many.
_KEPT_SECONDS = 3600.0
_MOST_KEPT = 50

# Between two looks of a viewer; a page shows no more.
_TURN_SECONDS = 0.1

# What jobs have to end in when the engine does. The rest is left to its end.
_GRACE_SECONDS = 3.0

# Replacing shorter ones would garble what is said.
_SHORTEST_SECRET = 8

_STOPPING = "stopping"
_AGAIN = {"pull": "What has come is kept; to go on, type the same line again."}
_DISCARDED = "What had come is thrown away."


class PullJob:
    """A model that is fetched or checked.

    Use from the engine's event loop; only ``work`` runs elsewhere.

    Attributes:
        kind: ``pull`` or ``verify``.
        key: Equal for jobs that do the same.
        client: Who asked first, such as ``process 4711``.
        id: Its id.
        progress: How far it is.
        error: What it failed with, once it has.
        is_over: Whether it has ended.
        discard: Throws away what has come; None where nothing can be.
        discards: Whether that is to be done when it has ended, or is done.

    Args:
        kind: As above.
        key: As above.
        model: What to call the model until the work says its id.
        client: As above.
        work: What to do.
        secret: Text that is told to nobody, such as a token; may be empty.
        discard: As above.
    """

    def __init__(
        self,
        kind: JobKind,
        key: Hashable,
        model: str,
        client: str,
        work: Work,
        secret: str,
        discard: Discard | None = None,
    ):
        self.kind = kind
        self.key = key
        self.client = client
        self.id = new_id()
        self.progress = PullProgress(model, PullPhase.STARTING, job=self.id)
        self.error: LLMSpellError | None = None
        self.is_over = False
        self.discard = discard
        self.discards = False
        self._work = work
        self._secret = secret
        self._started = time.monotonic()
        self._stop = threading.Event()
        self._why = ""
        self._thread: threading.Thread | None = None
        self._reported: PullProgress | None = None
        self._posted = False
        self._viewers: set[asyncio.Event] = set()
        self._over = asyncio.Event()

    @property
    def model(self) -> str:
        """Id of the model, as far as it is known."""
        return self.progress.model

    @property
    def is_working(self) -> bool:
        """Whether its thread runs."""
        return self._thread is not None and not self.is_over

    @property
    def is_stopping(self) -> bool:
        """Whether it was told to end."""
        return self._stop.is_set()

    async def watch(self) -> AsyncGenerator[PullProgress, None]:
        """How far it is: now, then whenever that changes, at most ten times a second.

        Leaving early changes nothing for the job.

        Raises:
            LLMSpellError: After its last progress, when it failed or was cancelled.
        """
        told: PullProgress | None = None
        with self._viewing() as changed:
            while True:
                changed.clear()
                over = self._over.is_set()
                if self.progress is not told:
                    told = self.progress
                    yield told
                if over:
                    break
                await changed.wait()
                # The end is told at once.
                with suppress(TimeoutError):
                    async with asyncio.timeout(_TURN_SECONDS):
                        await self._over.wait()
        if self.error is not None:
            # An exception that several raise would grow with each.
            raise from_wire(self.error.to_wire())

    def stop(self, why: str) -> None:
        """Tell it to end; its viewers are told why when it has."""
        if not self._stop.is_set():
            self._why = why
            self._stop.set()

    def note(self, text: str) -> None:
        """Tell the viewers something."""
        if text != self.progress.note:
            self._show(replace(self.progress, note=text))

    def begin(self, ended: Callable[[PullJob, PullProgress | LLMSpellError], None]) -> None:
        """Start the work.

        Args:
            ended: Called on this event loop with the last word or the error.
        """
        # A daemon: whatever it waits for, a name to be resolved for one, keeps no engine alive.
        self._thread = threading.Thread(
            target=self._run,
            args=(asyncio.get_running_loop(), ended),
            name=f"llmspell-{self.kind}",
            daemon=True,
        )
        self.note("")
        self._thread.start()

    def end(self, outcome: PullProgress | LLMSpellError) -> None:
        """Note its end."""
        if isinstance(outcome, PullProgress):
            self._show(replace(outcome, job=self.id))
        else:
            cancelled = isinstance(outcome, Interrupted)
            phase = PullPhase.CANCELLED if cancelled else PullPhase.FAILED
            self.error = outcome
            self._show(
                replace(
                    self._reported or self.progress,
                    phase=phase,
                    bytes_per_second=None,
                    seconds_left=None,
                    note="",
                    job=self.id,
                )
            )
        self.is_over = True
        self._over.set()
        for each in self._viewers:
            each.set()

    def interrupted(self) -> Interrupted:
        """The error of a job that was told to end."""
        hint = _DISCARDED if self.discards else _AGAIN.get(self.kind, "")
        return Interrupted(self._why, hint=hint, data={"job": self.id})

    @property
    def files(self) -> tuple[str, ...]:
        """Paths of its files, as far as they are known."""
        return tuple(each.path for each in self.progress.files)

    async def ended(self) -> None:
        """Wait for its end."""
        await self._over.wait()

    def to_wire(self) -> dict[str, Any]:
        """The job as JSON values, with the fields of other jobs; its files only while it runs."""
        said = replace(self.progress, files=()) if self.is_over else self.progress
        return {
            "id": self.id,
            "kind": self.kind,
            "model": self.model,
            "client": self.client,
            "phase": str(self.progress.phase),
            "ahead": 0,
            "tokens": 0,
            "tokens_per_second": None,
            "seconds": round(time.monotonic() - self._started, 1),
            "viewers": len(self._viewers),
            "progress": messages.pull_to_wire(said),
            "error": None if self.error is None else self.error.to_wire(),
        }

    def _run(
        self,
        loop: asyncio.AbstractEventLoop,
        ended: Callable[[PullJob, PullProgress | LLMSpellError], None],
    ) -> None:
        def report(progress: PullProgress) -> None:
            # Many reports make one look of the loop, which has closed when the engine gave up.
            self._reported = replace(progress, job=self.id)
            if not self._posted:
                self._posted = True
                with suppress(RuntimeError):
                    loop.call_soon_threadsafe(self._take)

        outcome: PullProgress | LLMSpellError
        try:
            outcome = self._work(report, self._stop)
        except BaseException as error:
            outcome = self._failure(error)
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(ended, self, outcome)

    def _failure(self, error: BaseException) -> LLMSpellError:
        # What a stop leads to differs: a closed connection, a missing file.
        if self._stop.is_set():
            return self.interrupted()
        if isinstance(error, LLMSpellError):
            return from_wire(self._told(error.to_wire()))
        lines = "".join(traceback.format_exception(error))
        _log.error("The %s of %s failed\n%s", self.kind, self.model, self._told(lines))
        return EngineError(
            self._told(f"The engine failed: {type(error).__name__}: {error}"), hint=SEE_LOGS
        )

    def _told(self, value: Any) -> Any:
        """JSON values without the secret."""
        if len(self._secret) < _SHORTEST_SECRET:
            return value
        if isinstance(value, str):
            return value.replace(self._secret, "***")
        if isinstance(value, dict):
            return {self._told(name): self._told(each) for name, each in value.items()}
        return [self._told(each) for each in value] if isinstance(value, list | tuple) else value

    def _take(self) -> None:
        # In this order: what is reported meanwhile is taken now or next time.
        self._posted = False
        if not self.is_over and self._reported is not None:
            said = self._reported
            self._show(replace(said, note=_STOPPING) if self.is_stopping else said)

    def _show(self, progress: PullProgress) -> None:
        self.progress = progress
        for each in self._viewers:
            each.set()

    @contextmanager
    def _viewing(self) -> Iterator[asyncio.Event]:
        changed = asyncio.Event()
        self._viewers.add(changed)
        try:
            yield changed
        finally:
            self._viewers.discard(changed)


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
        job = PullJob(kind, key, model, client, work, secret or "", discard)
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

        What another job or process fetches, or waits for, stays. A pull that has ended already,
        a paused one for instance, loses what had come, too.

        Returns:
            Whether it was ended by this, and the bytes that were thrown away.

        Raises:
            RequestError: There is no such job any more, or nothing can be thrown away.
        """
        job = self.find(job_id)
        if job.discard is None:
            what = "check" if job.kind == "verify" else "download of Ollama's"
            raise RequestError(
                f"Of a {what} nothing can be thrown away here.",
                hint="Cancel it without discard; Ollama's server tidies up when it starts.",
                data={"param": "discard"},
            )
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
        if job.is_working:
            job.note(_STOPPING)
        else:
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
