"""Lua sessions: scripts run on a thread of their own and can be stopped from any other."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from queue import SimpleQueue
from time import monotonic
from typing import Any, Final, Self

from llmspell_jupyter.errors import RequestError, ScriptError
from llmspell_jupyter.runtime.border import Border, Callback, HostObject
from llmspell_jupyter.runtime.execution import Execution
from llmspell_jupyter.runtime.host import Ask, Host, Job, Outcome, Printed
from llmspell_jupyter.runtime.machine import Machine

__all__ = ["Ask", "Callback", "Execution", "Host", "HostObject", "LuaSession", "Printed"]

#: Seconds after a stop until a script that sits inside one Lua library call is given up.
LUA_GRACE: Final = 1.0
#: Seconds after a stop that a host call gets to end.
HOST_GRACE: Final = 5.0

_RESET: Final = "To stop what runs and begin anew, without Lua globals, type: %llmspell_reset"


class LuaSession:
    """One Lua state, its thread and its globals, which live from script to script.

    ``start``, ``close`` and ``lost`` are for the owner, on any thread. ``post``, ``on_stop`` and
    ``on_loss`` are for host code; that runs on the session's own thread, in a copy of the context
    of the ``start`` call. Lua is never touched from any other thread.

    Args:
        globals_: Name of each global table and the functions in it, answered by
            ``host.call("Global.function", args)``. A name that the sandbox has, such as
            ``io``, is extended.
        classes: Name of each class of host objects and its methods.
        host: Answers the calls.
        max_memory_bytes: Limit of the Lua state; None for no limit.

    Attributes:
        max_memory_bytes: The same; what is set here holds from the next script on.
    """

    def __init__(
        self,
        globals_: Mapping[str, Sequence[str]],
        classes: Mapping[str, Sequence[str]],
        host: Host,
        *,
        max_memory_bytes: int | None = None,
    ):
        self.max_memory_bytes = max_memory_bytes
        self._lost = False
        self._make = (globals_, classes, host)
        self._lock = threading.Lock()
        self._jobs: SimpleQueue[Execution | None] = SimpleQueue()
        self._current: Execution | None = None
        self._waits: dict[object, Callable[[], object]] = {}
        self._held: dict[object, Callable[[], object]] = {}
        self._closed = False
        self._busy = False
        self._in_lua_since = 0.0
        self._machine: Machine | None = None
        self._failure: BaseException | None = None
        ready = threading.Event()
        self._thread = threading.Thread(
            target=self._work, args=(ready,), name="llmspell-lua", daemon=True
        )
        self._thread.start()
        ready.wait()
        if self._failure is not None:
            raise self._failure

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(
        self,
        source: str,
        chunk: str,
        *,
        expression: bool = False,
        timeout: float | None = None,
        variables: Mapping[str, Any] | None = None,
    ) -> Execution:
        """Starts a script; one at a time.

        Args:
            source: Lua source.
            chunk: Name of the script in messages, such as ``cell[3]``.
            expression: Try ``return source`` first.
            timeout: Seconds that the script may run; None for no limit.
            variables: Globals to set before, such as ``ARGS``.

        Raises:
            RequestError: A script still runs, or the session is closed or lost.
            TypeError: A variable is of a type that Lua does not know.
        """
        job = Job(source, chunk, expression, dict(variables or {}))
        Border(tuple(self._make[1])).encode("job", [job.variables])
        execution = Execution(self, job, timeout)
        try:
            with self._lock:
                self._check_free()
                self._current = execution
                self._jobs.put(execution)
            return execution
        except BaseException:
            # Ctrl-C comes at any line, and nobody else has the execution to stop it.
            execution.end("The script was stopped while it started")
            raise

    def post(self, event: object) -> bool:
        """Adds an event for whoever reads those of the running script; False if none runs."""
        current = self._current
        if current is None or current.done:
            return False
        current._post(event)
        return True

    @contextmanager
    def on_stop(self, cancel: Callable[[], object]) -> Iterator[None]:
        """Has ``cancel`` called, from another thread, if the script is stopped meanwhile.

        For host code that waits: ``cancel`` must make that wait end soon. It is called at once
        if the script is being stopped already.
        """
        with self._listed(self._waits, cancel):
            if self.stopping():
                cancel()
            yield

    @contextmanager
    def on_loss(self, end: Callable[[], object]) -> Iterator[None]:
        """Has ``end`` called, from another thread, if the session is lost meanwhile.

        For what a host call holds while callbacks of it run, or until a later script goes on
        with it: in a session that is lost, nobody does. It is called at once if it is lost
        already.
        """
        with self._listed(self._held, end):
            if self._lost:
                end()
            yield

    @property
    def lost(self) -> bool:
        """Whether a script could not be stopped: the session is of no more use.

        Setting it ends what host calls hold.
        """
        return self._lost

    @lost.setter
    def lost(self, lost: bool) -> None:
        self._lost = lost
        if lost:
            self._call_all(self._held)

    def close(self) -> None:
        """Stops what runs and ends the thread; waits up to ``LUA_GRACE`` seconds for it."""
        with self._lock:
            self._closed = True
            running = self._current
        if running is not None:
            running.stop("The Lua session was closed")
        self._jobs.put(None)
        if threading.current_thread() is not self._thread:
            self._thread.join(LUA_GRACE)
        self.lost = self.lost or self._thread.is_alive()

    # Desk: what the machine asks, on the session's thread

    def stopping(self) -> bool:
        """Whether the running script has to end."""
        return self._current is not None and self._current._stopping()

    def printed(self, text: str) -> None:
        """Takes what the script wrote."""
        self.post(Printed(text))

    def in_host(self, inside: bool) -> None:
        """Learns that Python code of the host begins or ends."""
        self._busy = inside
        if not inside:
            self._in_lua_since = monotonic()

    def _check_free(self) -> None:
        if self._closed or self.lost:
            state = "lost" if self.lost else "closed"
            raise RequestError(f"This Lua session is {state}.", hint=_RESET)
        if self._current is not None and not self._current.done:
            raise RequestError("A script already runs in this Lua session.", hint=_RESET)

    @contextmanager
    def _listed(
        self, calls: dict[object, Callable[[], object]], call: Callable[[], object]
    ) -> Iterator[None]:
        key = object()
        with self._lock:
            calls[key] = call
        try:
            yield
        finally:
            with self._lock:
                calls.pop(key, None)

    def _call_all(self, listed: dict[object, Callable[[], object]]) -> None:
        with self._lock:
            calls = list(listed.values())
        for call in calls:
            call()

    # For executions

    def _cancel_host_calls(self) -> None:
        self._call_all(self._waits)

    def _give_up_at(self, stopped_at: float) -> float:
        if self._busy:
            return stopped_at + HOST_GRACE
        return max(stopped_at, self._in_lua_since) + LUA_GRACE

    # The thread

    def _work(self, ready: threading.Event) -> None:
        try:
            machine = Machine(*self._make, self)
        except BaseException as error:
            self._failure = error
            return
        finally:
            ready.set()
        self._machine = machine
        while not self.lost and (execution := self._jobs.get()) is not None:
            execution._context.run(self._perform, machine, execution)
        machine.close()

    def _perform(self, machine: Machine, execution: Execution) -> None:
        if not execution._begin():
            return
        self._busy, self._in_lua_since = False, monotonic()
        try:
            outcome = machine.run(execution.job, self.max_memory_bytes)
        except BaseException as error:
            failure = ScriptError(f"Internal error: {type(error).__name__}: {error}")
            failure.__cause__ = error
            outcome = Outcome(error=failure)
        if execution._finish(outcome):
            # Where the next script's stop waits for this, it gets the time of a host call.
            self._busy = True
            machine.collect()
