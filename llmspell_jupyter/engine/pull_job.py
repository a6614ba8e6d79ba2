"""One job that fetches or checks a model."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
import traceback
from collections.abc import AsyncGenerator, Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from llmspell_jupyter.engine import messages
from llmspell_jupyter.engine.jobs import JobKind, new_id
from llmspell_jupyter.errors import (
    SEE_LOGS,
    EngineError,
    Interrupted,
    LLMSpellError,
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

# Between two looks of a viewer; a page shows no more.
_TURN_SECONDS = 0.1

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
        asked: Values that ask for the same again, as a page does; may be empty.
        discards: Whether that is to be done when it has ended, or is done.

    Args:
        kind: As above.
        key: As above.
        model: What to call the model until the work says its id.
        client: As above.
        work: What to do.
        secret: Text that is told to nobody, such as a token; may be empty.
        discard: As above.
        asked: As above.
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
        asked: Mapping[str, Any] = MappingProxyType({}),
    ):
        self.kind = kind
        self.key = key
        self.client = client
        self.id = new_id()
        self.progress = PullProgress(model, PullPhase.STARTING, job=self.id)
        self.error: LLMSpellError | None = None
        self.is_over = False
        self.discard = discard
        self.asked = asked
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
            if self.is_working:
                self.note(_STOPPING)

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
            "asked": dict(self.asked),
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
