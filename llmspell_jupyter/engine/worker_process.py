"""The engine's end of one worker: starts the process, talks to it, sees it die."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import signal
import sys
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from dataclasses import asdict
from typing import Any, Literal

from llmspell_jupyter.engine import dispatch, frames, messages, shortage
from llmspell_jupyter.engine.backend import LAST, Embedded, Event, Failed, Finished, Token
from llmspell_jupyter.engine.child_process import ChildProcess
from llmspell_jupyter.errors import (
    BadModelFile,
    EngineError,
    LLMSpellError,
    NotEnoughMemory,
    WorkerDied,
    from_wire,
)
from llmspell_jupyter.types import LoadOptions, ModelInfo, ModelRequest

_log = logging.getLogger(__name__)

# A crash can follow thousands of lines; the last ones say why.
_TAIL_LINES = 60
_LONGEST_LINE = 1_000
_SHOWN_LINES = 5

# What a process has to end in once it is of no use, and its last words to arrive once it has ended.
_GRACE_SECONDS = 1.0

# How a library ends that was built for another processor.
_MISFITS = {"SIGSEGV", "SIGILL", "SIGBUS", "SIGFPE"}

# What Python's fault handler writes first; its stack of our own functions follows.
_FATAL = "Fatal Python error"


class WorkerProcess:
    """A worker process and the model in it. Use from the engine's event loop only.

    Attributes:
        model: The model it holds.
        options: How it was loaded.
        facts: What the backend says of itself, once loaded.
        counts: Totals of the backend, such as ``decode_calls``.
        load_ms: Time from start of the process to the loaded model, in milliseconds.
        state: ``loading``, ``ready`` or ``dead``.
        answered: Requests whose answer began.

    Args:
        model: The model to load.
        backend: Name of the backend that runs it.
        options: How to load it.
        ended: Called when it has ended, with why if that came by itself.
    """

    def __init__(
        self,
        model: ModelInfo,
        backend: str,
        options: LoadOptions,
        ended: Callable[[WorkerProcess, LLMSpellError | None], None] = lambda *_: None,
    ):
        self.model = model
        self.options = options
        self._backend = backend
        self.facts: dict[str, Any] = {}
        self.counts: dict[str, int] = {}
        self.load_ms = 0.0
        self.state: Literal["loading", "ready", "dead"] = "loading"
        self.answered = 0
        self._process: ChildProcess | None = None
        self._loaded: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._loaded.add_done_callback(lambda future: future.cancelled() or future.exception())
        self._abandoned = False
        self._stopping = False
        self._ended = ended
        self._loading = 0
        self._moved = asyncio.Event()
        self._requests: dict[str, asyncio.Queue[Event]] = {}
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._starting: asyncio.Task[None] | None = None
        self._watch: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """Process id; None before it starts."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start the process and begin to load; ``loaded`` waits for the end of it."""
        # A task of its own: the request that asked may be cancelled halfway.
        self._starting = asyncio.create_task(self._start())

    async def _start(self) -> None:
        try:
            await self._spawn()
        except Exception as error:
            # Whatever it is: those who wait for the model would wait for ever.
            self.abandon()
            self.state = "dead"
            self._loaded.set_exception(
                EngineError(
                    f"No process could be started for {self.model.id}: {error}",
                    hint="Close other programs or notebooks, then run the cell again.",
                )
            )

    async def _spawn(self) -> None:
        started = time.monotonic()
        self._process = await ChildProcess.start(
            *(sys.executable, "-m", "llmspell_jupyter.engine.worker"),
            # On an abort ggml forks children to print a backtrace; they outlive the worker and
            # keep its pipes open.
            env=os.environ | {"GGML_NO_BACKTRACE": "1", "PYTHONUNBUFFERED": "1"},
        )
        self._watch = asyncio.create_task(self._run(started), name=f"worker {self._process.pid}")
        if self._abandoned:
            self._process.kill()
            return
        self._send(
            {
                "do": "load",
                "backend": self._backend,
                "model": messages.model_to_wire(self.model),
                "options": asdict(self.options),
            }
        )

    async def loading(self) -> AsyncGenerator[int, None]:
        """Thousandths of the load that are done, as they grow; ends when the model is loaded.

        Raises:
            LLMSpellError: It cannot be loaded, as the backend says.
            WorkerDied: The process died on it.
        """
        self._loaded.add_done_callback(lambda _: self._moved.set())
        shown = -1
        while not self._loaded.done():
            self._moved.clear()
            if self._loading > shown:
                shown = self._loading
                yield shown
            else:
                await self._moved.wait()
        self._loaded.result()

    def abandon(self) -> None:
        """Give a load up: the process ends at once."""
        self._abandoned = True
        if self._process is not None:
            self._process.kill()

    async def answer(self, request_id: str, request: ModelRequest) -> AsyncGenerator[Event, None]:
        """The events of one request, the last of which is its result.

        Closing the iterator early cancels the request.

        Raises:
            LLMSpellError: The request failed; the worker is well.
            WorkerDied: The process died.
        """
        if self.state != "ready":
            raise self._obituary()
        events: asyncio.Queue[Event] = asyncio.Queue()
        self._requests[request_id] = events
        done = False
        try:
            self._send(
                {
                    "do": "start",
                    "request_id": request_id,
                    "request": messages.request_to_wire(request),
                }
            )
            while not done:
                event = await events.get()
                done = isinstance(event, LAST)
                if isinstance(event, Failed):
                    raise event.error
                yield event
        finally:
            del self._requests[request_id]
            if not done:
                self._send({"do": "cancel", "request_id": request_id})

    async def stop(self) -> None:
        """End the process and wait for it; its memory is free afterwards. A load is given up."""
        self._stopping = True
        if not self._loaded.done():
            # Native code that loads does not look at what it is told.
            self.abandon()
        if self._starting is not None:
            await self._starting
        if self._process is None:
            return
        self._process.stdin.close()
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._process.wait(), _GRACE_SECONDS)
        self._process.kill()
        if self._watch is not None:
            await self._watch

    def _send(self, message: dict[str, Any]) -> None:
        # Not drained: frames are small and the worker always reads. A dead worker is noticed
        # by its end.
        assert self._process is not None
        if not self._process.stdin.is_closing():
            self._process.stdin.write(frames.encode(message))

    async def _run(self, started: float) -> None:
        """Carry messages until the process ends."""
        process = self._process
        assert process is not None
        pipes = {
            asyncio.create_task(self._listen(process, started)),
            asyncio.create_task(self._keep_log(process)),
        }
        await process.wait()
        self.state = "dead"
        # A grandchild may hold the pipes open; the last words are there long before.
        _, open_still = await asyncio.wait(pipes, timeout=_GRACE_SECONDS)
        for each in open_still:
            each.cancel()
        process.close()
        loading = not self._loaded.done()
        death = (self._verdict() if loading else None) or self._obituary()
        self._ended(self, None if self._stopping or self._abandoned else death)
        if loading:
            self._loaded.set_exception(death)
        for request_id, events in self._requests.items():
            events.put_nowait(Failed(request_id, death))

    async def _listen(self, process: ChildProcess, started: float) -> None:
        """Take its messages until there are no more, which it does not outlive."""
        try:
            await self._receive(process, started)
        except Exception as error:
            # Whatever a message of its does to this side, nothing more of it can be trusted.
            self._tail.append(f"unreadable message: {error!r}"[:_LONGEST_LINE])
            process.kill()
        # From here on requests are for the next worker.
        self.state = "dead"
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(process.wait(), _GRACE_SECONDS)
        process.kill()

    async def _receive(self, process: ChildProcess, started: float) -> None:
        while (message := await frames.receive(process.stdout)) is not None:
            if "loading" in message:
                self._loading = messages.loading_from_wire(message)
                self._moved.set()
            elif "counts" in message:
                self.counts = messages.counts_from_wire(message)
            elif "failed" in message:
                self._loaded.set_exception(from_wire(message["failed"]))
            elif "loaded" in message:
                self.facts = messages.facts_from_wire(message)
                self.load_ms = (time.monotonic() - started) * 1000
                if self.state == "loading":
                    self.state = "ready"
                self._loaded.set_result(None)
            else:
                event = messages.event_from_wire(message)
                self.answered += _is_answer(event)
                if waiting := self._requests.get(event.request_id):
                    waiting.put_nowait(event)

    async def _keep_log(self, process: ChildProcess) -> None:
        pending = b""
        while block := await process.stderr.read(65536):
            *lines, pending = (pending + block).split(b"\n")
            pending = pending[:_LONGEST_LINE]
            for line in lines:
                text = line[:_LONGEST_LINE].decode("utf-8", "backslashreplace").rstrip()
                self._tail.append(text)
                _log.info("worker %s: %s", process.pid, text)

    def _verdict(self) -> BadModelFile | NotEnoughMemory | None:
        """What a death while loading says of the model; None if nothing."""
        code = self._process.returncode if self._process else None
        if _signal_name(code) != "SIGABRT":
            return None
        cause = next((line for line in reversed(_words(self._tail)) if _FATAL not in line), "")
        cause = re.sub(r"^\S*/", "", cause)  # Where the library was built says nothing here.
        return shortage.of_library(self.model, cause) or BadModelFile(
            f"{self.model.path} cannot be loaded: its backend gave up on it"
            + (f": {cause}" if cause else "."),
            hint="Fetch or copy the file again; %model_list shows the models that can be used.",
            data={"path": str(self.model.path), "cause": cause, "log": list(self._tail)},
        )

    def _obituary(self) -> WorkerDied:
        code = self._process.returncode if self._process else None
        tail = list(self._tail)
        return died(self.model, self._backend, code, answered=self.answered, tail=tail)


def _is_answer(event: Event) -> bool:
    """Whether the model has shown with it that it computes."""
    if isinstance(event, Token):
        return event.tokens <= 1
    if isinstance(event, Finished):
        return event.reason != "cancelled"
    return isinstance(event, Embedded)


def died(
    model: ModelInfo, backend: str, code: int | None, *, answered: int, tail: Sequence[str]
) -> WorkerDied:
    """The error for a worker that ended.

    Args:
        model: What it held.
        backend: Name of the backend that held it.
        code: Exit status; negative is a signal; None when unknown.
        answered: Requests that got a first token. A native crash before any is what a llama.cpp
            that was built for another processor does; the hint then rebuilds it.
        tail: Last lines of its log.
    """
    name = _signal_name(code)
    how = f"was ended by {name}" if name else "ended"
    how += f" with status {code}" if code and not name else ""
    message = f"The process that held {model.id} {how}"
    repair = dispatch.backend(backend).repair_line()
    misfit = bool(name in _MISFITS and not answered and repair)
    if misfit:
        message += " before its first token; its native library does not fit this processor."
        hint = f"Rebuild it; type in a terminal: {repair}"
    else:
        message += "; the engine is well."
        hint = "Run the cell again: a new process loads the model."
    if words := _words(tail)[-_SHOWN_LINES:]:
        message += "\nIts last words:\n" + "\n".join(f"  {line}" for line in words)
    data = {"model": model.id, "exit_status": code, "signal": name, "log": list(tail)}
    return WorkerDied(message, hint=hint, data=data | {"repair": repair if misfit else None})


def _words(tail: Iterable[str]) -> list[str]:
    """The lines of a log up to the report of a crash."""
    words: list[str] = []
    for line in tail:
        words.append(line)
        if line.startswith(_FATAL):
            break
    return words


def _signal_name(code: int | None) -> str | None:
    if code is None or code >= 0:
        return None
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
