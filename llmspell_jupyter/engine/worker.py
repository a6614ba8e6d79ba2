"""A worker: the process that holds one model.

It reads frames from its standard input and answers on what was its standard output; native
libraries that print reach standard error instead, which the engine keeps as the worker's log. It
ends when its input does, so that it never outlives the engine.

Messages in:  ``{"do": "load", "backend", "model", "options"}``, ``{"do": "start", "request_id",
"request"}``, ``{"do": "cancel", "request_id"}``.
Messages out: ``{"loading": thousandths}``, ``{"loaded": facts}`` or ``{"failed": error}``,
``{"counts": totals}``, and events.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

from llmspell_jupyter.engine import dispatch, frames, messages
from llmspell_jupyter.engine.backend import LAST, Backend, Event, Failed
from llmspell_jupyter.errors import SEE_LOGS, EngineError, LLMSpellError, RequestError
from llmspell_jupyter.types import LoadOptions

_log = logging.getLogger(__name__)


def main() -> None:
    """Serve one model until standard input ends."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    faulthandler.enable()
    commands, answers = _claim_standard_streams()
    inbox = _Inbox(commands)
    threading.Thread(target=inbox.read, name="frames", daemon=True).start()
    _Worker(inbox, answers).run()


def _claim_standard_streams() -> tuple[BinaryIO, BinaryIO]:
    commands = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return commands, answers


class _Inbox:
    """Commands as they come.

    ``read`` runs on its own thread, everything else on the owner thread. The set of cancelled
    requests is written by the reading thread and asked by native callbacks at any time.
    """

    def __init__(self, stream: BinaryIO):
        self._stream = stream
        self._commands: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._cancelled: set[str] = set()

    def read(self) -> None:
        try:
            while (command := frames.read(self._stream)) is not None:
                if command.get("do") == "cancel":
                    self._cancelled.add(str(command.get("request_id")))
                self._commands.put(command)
        except frames.BadFrame as error:
            _log.error("The engine sent what cannot be read: %s", error)
        # The owner thread may be deep in native code for seconds; the engine has gone, and
        # nothing of this process is worth keeping.
        os._exit(0)

    def cancelled(self, request_id: str) -> bool:
        return request_id in self._cancelled

    def forget(self, request_id: str) -> None:
        self._cancelled.discard(request_id)

    def next(self, *, wait: bool) -> dict[str, Any] | None:
        try:
            return self._commands.get(block=wait)
        except queue.Empty:
            return None


# While requests run, their totals go out this often; and whenever one ends.
_COUNTS_SECONDS = 1.0


class _Worker:
    """Owns the model; every method runs on the main thread."""

    def __init__(self, inbox: _Inbox, answers: BinaryIO):
        self._inbox = inbox
        self._answers = answers
        self._model: Backend | None = None
        self._running: set[str] = set()
        self._counts: Mapping[str, int] = {}
        self._counted_at = 0.0

    def run(self) -> None:
        while True:
            idle = self._model is None or not self._model.active
            while (command := self._inbox.next(wait=idle)) is not None:
                self._obey(command)
                idle = False
            if self._model is not None and self._model.active:
                events = self._model.step()
                self._report_counts(ended=any(isinstance(each, LAST) for each in events))
                for event in events:
                    self._report(event)

    def _obey(self, command: dict[str, Any]) -> None:
        try:
            if command["do"] == "load":
                self._load(command)
            elif command["do"] == "start":
                self._start(command)
            elif command["do"] == "cancel" and command["request_id"] not in self._running:
                self._inbox.forget(command["request_id"])
        except (KeyError, TypeError) as error:
            _log.error("The engine sent a command that makes no sense: %r", error)

    def _load(self, command: dict[str, Any]) -> None:
        model = messages.model_from_wire(command["model"])
        options = LoadOptions(**command["options"])
        try:
            backend = dispatch.backend(command["backend"])
            self._model = backend.load(model, options, _Loading(self._send))
        except LLMSpellError as error:
            self._send({"failed": error.to_wire()})
        except Exception as error:
            _log.exception("Loading %s failed", model.path)
            self._send({"failed": _unexpected(error).to_wire()})
        else:
            self._send({"loaded": self._model.describe()})

    def _start(self, command: dict[str, Any]) -> None:
        request_id = str(command["request_id"])
        if self._model is None:
            return
        self._running.add(request_id)
        try:
            request = messages.request_from_wire(command["request"])
            self._model.start(request_id, request, lambda: self._inbox.cancelled(request_id))
        except LLMSpellError as error:
            self._report(Failed(request_id, error))
        except Exception as error:
            _log.exception("Request %s could not start", request_id)
            self._report(Failed(request_id, _unexpected(error)))

    def _report_counts(self, *, ended: bool) -> None:
        if self._model is None or not (
            ended or time.monotonic() - self._counted_at >= _COUNTS_SECONDS
        ):
            return
        self._counted_at = time.monotonic()
        if (counts := self._model.counts()) != self._counts:
            self._counts = counts
            self._send({"counts": dict(counts)})

    def _report(self, event: Event) -> None:
        if isinstance(event, LAST):
            self._running.discard(event.request_id)
            self._inbox.forget(event.request_id)
        try:
            self._send(messages.event_to_wire(event))
        except frames.BadFrame as error:
            unsent = RequestError(
                f"The answer cannot be sent: {error}.", hint="Ask for fewer texts at a time."
            )
            self._send(messages.event_to_wire(Failed(event.request_id, unsent)))

    def _send(self, message: dict[str, Any]) -> None:
        frame = memoryview(frames.encode(message))
        while frame:
            frame = frame[self._answers.write(frame) :]


class _Loading:
    """Reports the progress of a load, a thousand times at most."""

    def __init__(self, send: Callable[[dict[str, Any]], None]):
        self._send = send
        self._sent = -1

    def __call__(self, share: float) -> None:
        done = int(share * 1000)
        if done > self._sent:
            self._sent = done
            self._send({"loading": done})


def _unexpected(error: Exception) -> EngineError:
    return EngineError(
        f"The backend failed: {type(error).__name__}: {error}",
        hint=SEE_LOGS,
    )


if __name__ == "__main__":
    main()
