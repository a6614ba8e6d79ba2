"""One run of a script, as the thread that waits for it sees it."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Iterator
from queue import Empty, SimpleQueue
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from llmspell_jupyter.errors import Interrupted, LLMSpellError, ScriptError, ScriptTimeout
from llmspell_jupyter.runtime.host import Job, Outcome

if TYPE_CHECKING:
    from llmspell_jupyter.runtime.lua import LuaSession

#: Events that a script may be ahead of the thread that shows them.
_BACKLOG: Final = 10_000
_POLL: Final = 0.05
#: Longest wait in one piece: Windows lets no Ctrl-C through to a thread that waits for a lock.
_TURN: Final = 0.2
_WAKE: Final = object()


class Execution:
    """One run of one script. All public methods may be called from any thread.

    Either iterate ``events`` or wait for ``result``, from one thread: while one of them waits,
    it also watches the time limit.
    """

    def __init__(self, session: LuaSession, job: Job, timeout: float | None):
        self.job = job
        self.exit_status: int | None = None
        self._session = session
        self._timeout = timeout
        self._context = contextvars.copy_context()
        self._queue: SimpleQueue[object] = SimpleQueue()
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._begun = False
        self._deadline: float | None = None
        self._stop: LLMSpellError | None = None
        self._stopped_at = 0.0
        self._outcome = Outcome()
        self._readers = 0

    @property
    def done(self) -> bool:
        """Whether the script has ended or was given up."""
        return self._done.is_set()

    def events(self) -> Iterator[object]:
        """What the script printed and the host posted, in order, until the script ends.

        ``KeyboardInterrupt`` in the caller passes through. Then call ``stop``, and ``events``
        again for the rest.
        """
        self._readers += 1
        try:
            while True:
                done = self._done.is_set()
                try:
                    event = self._queue.get(not done, self._patience())
                except Empty:
                    if done:
                        return
                    self._watch()
                    continue
                if event is not _WAKE:
                    yield event
        finally:
            self._readers -= 1

    def result(self, timeout: float | None = None) -> Any:
        """Waits for the end and gives what the script returned.

        Args:
            timeout: Seconds to wait; None waits as long as the script may run.

        Returns:
            The value, None for none, or a list of several.

        Raises:
            TimeoutError: The script still runs after ``timeout`` seconds.
            ScriptTimeout: The script ran longer than its limit.
            Interrupted: ``stop`` was called.
            ScriptMemory: The script reached the memory limit of its session.
            ScriptError: The script raised, or ended with ``os.exit`` and a status other than 0.
            LLMSpellError: What a host call raised and the script did not catch.
        """
        self._wait(None if timeout is None else monotonic() + timeout)
        if self._outcome.error is not None:
            raise self._outcome.error
        return self._outcome.value

    def stop(self, reason: str) -> None:
        """Stops the script: it can catch nothing any more, and host calls are cancelled.

        Args:
            reason: Message of the ``Interrupted`` that ``result`` raises.
        """
        self._request_stop(Interrupted(reason))

    def end(self, reason: str) -> None:
        """Stops the script and waits until it has ended or is given up; for who follows no more.

        Args:
            reason: As for ``stop``.
        """
        with self._lock:
            if not self._begun and not self._done.is_set():
                self._outcome = Outcome(error=Interrupted(reason))
                self._done.set()
        self.stop(reason)
        self._wait(None)

    # For the session

    def _begin(self) -> bool:
        """Starts the clock; False if the script was ended before."""
        with self._lock:
            self._begun = not self._done.is_set()
        if self._begun and self._timeout is not None:
            self._deadline = monotonic() + self._timeout
            self._queue.put(_WAKE)
        return self._begun

    def _stopping(self) -> bool:
        if self._stop is None and self._deadline is not None and monotonic() >= self._deadline:
            self._expire()
        return self._stop is not None

    def _post(self, event: object) -> None:
        # A fast script waits for a slow reader, not for a caller that reads no events.
        while self._readers and self._queue.qsize() > _BACKLOG and not self._stopping():
            self._done.wait(_POLL)
        self._queue.put(event)

    def _finish(self, outcome: Outcome) -> bool:
        """Sets the result; False if the script was given up before."""
        with self._lock:
            if self._done.is_set():
                return False
            if outcome.stopped and self._stop is not None:
                self._stop.data.update(outcome.place)
                outcome = Outcome(error=self._stop)
            elif outcome.exit_status:
                message = f"The script ended with status {outcome.exit_status}"
                data = {**outcome.place, "exit_status": outcome.exit_status}
                outcome = Outcome(
                    error=ScriptError(message, data=data), exit_status=outcome.exit_status
                )
            self.exit_status = outcome.exit_status
            self._outcome = outcome
            self._done.set()
        self._queue.put(_WAKE)
        return True

    # Time

    def _wait(self, until: float | None) -> None:
        while not self._done.is_set():
            left = _POLL if until is None else min(_POLL, until - monotonic())
            if left <= 0:
                raise TimeoutError("the script still runs")
            self._done.wait(left)
            self._watch()

    def _expire(self) -> None:
        message = f"The script ran longer than its limit of {self._timeout:g} s"
        hint = "Allow more time: write --timeout SECONDS behind %lua or %%lua."
        data = {"limit_seconds": self._timeout}
        self._request_stop(ScriptTimeout(message, hint=hint, data=data))

    def _request_stop(self, error: LLMSpellError) -> None:
        with self._lock:
            if self._stop is not None or self._done.is_set():
                return
            self._stopped_at = monotonic()
            self._stop = error
        self._session._cancel_host_calls()
        self._queue.put(_WAKE)

    def _patience(self) -> float:
        """Seconds until ``_watch`` has something to look at."""
        if self._stop is not None:
            return _POLL
        left = _TURN if self._deadline is None else max(0.0, self._deadline - monotonic())
        return min(left, _TURN)

    def _watch(self) -> None:
        """Stops a script at its limit, and gives it up if it does not stop."""
        if not self._stopping() or self._stop is None:
            return
        if monotonic() < self._session._give_up_at(self._stopped_at):
            return
        stop = self._stop
        abandoned = type(stop)(
            f"{stop.message}. It did not stop, because it is inside one call that nothing can"
            " break off (such as string.find with a costly pattern): its Lua state was abandoned"
            " with all variables, and the next script gets a fresh one",
            hint="Restart the kernel if the abandoned call keeps a processor core busy.",
            data={**stop.data, "chunk": self.job.chunk, "lost": True},
        )
        self._session.lost = True
        self._finish(Outcome(error=abandoned))
