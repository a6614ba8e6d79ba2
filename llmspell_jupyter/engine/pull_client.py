"""A download or check in the engine, for threads that watch it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import queue
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from urllib.parse import quote

from anyio.from_thread import BlockingPortal

from llmspell_jupyter.engine import exchange, messages, start
from llmspell_jupyter.engine.api import calls
from llmspell_jupyter.engine.calling import TURN_SECONDS
from llmspell_jupyter.engine.connection import Connection
from llmspell_jupyter.engine.exchange import Ask
from llmspell_jupyter.errors import (
    STOP_ENGINE,
    EngineDied,
    EngineError,
    Interrupted,
    LLMSpellError,
    RequestError,
)
from llmspell_jupyter.types import PullProgress

# An engine ends a job at once, unless it hangs; nobody waits longer for it.
_END_SECONDS = 2.0

_CANCEL_SECONDS = 10.0

_LINGERS = """The download or check may still go on. To see, type: %llmspell_status \
(in a terminal: jupyter llmspell engine status)
To end it or to go on with it, type the same line again."""


class Pull:
    """A download or check that is watched: iterate for its progress, the last of which is complete.

    The job is the engine's. It goes on when nobody iterates, when this object is gone, and when
    the program ends. Each method may be called from any thread, at any time and more than once.

    Args:
        portal: The event loop on which the engine is asked.
        model: What the model is called in errors until the engine has said its id.
        ask: ``POST`` begins a job or joins one, ``GET`` watches one.

    Raises:
        LLMSpellError: While iterating, when it is refused or fails.
        Interrupted: While iterating, when it was cancelled, here or by anybody else.
    """

    def __init__(self, portal: BlockingPortal, model: str, ask: Ask):
        self._portal = portal
        self._ask = ask
        self._job = ""
        self._model = model
        self._over = False
        self._cancelled = False
        self._lingering: Interrupted | None = None
        self._steps: queue.SimpleQueue[PullProgress | LLMSpellError | None] = queue.SimpleQueue()
        # The next three are the event loop's: whether the engine may know of this, and who waits
        # for the job's id and for the end of watching.
        self._sent = False
        self._told = asyncio.Event()
        self._left = asyncio.Event()
        self._future: Future[None] = portal.start_task_soon(self._run)

    @property
    def job(self) -> str:
        """Id of the engine's job; empty until the engine has said it."""
        return self._job

    @property
    def lingering(self) -> Interrupted | None:
        """What is told of a job that was cancelled and may go on; None as far as is known."""
        return None if self._over else self._lingering

    def __iter__(self) -> Iterator[PullProgress]:
        while True:
            try:
                step = self._steps.get(timeout=TURN_SECONDS)
            except queue.Empty:
                continue
            if step is None:
                # For whoever iterates again.
                self._steps.put(None)
                return
            if isinstance(step, LLMSpellError):
                raise step
            yield step

    def cancel(self) -> None:
        """End the job, for all who watch it; nothing happens when it has ended.

        The iteration ends in two seconds at the latest; the job ends as soon as the engine hears
        of it, also when nobody iterates any more.
        """
        if not self._cancelled and not self._over:
            self._cancelled = True
            with contextlib.suppress(RuntimeError):  # The portal has been closed.
                self._portal.start_task_soon(self._cancel)

    def detach(self) -> None:
        """Only stop watching; the iteration ends. A job that has begun goes on."""
        self._steps.put(None)
        with contextlib.suppress(RuntimeError):
            self._portal.start_task_soon(self._leave)

    async def _leave(self) -> None:
        if self._sent:
            # A cancel that comes later needs the job's id.
            await self._told.wait()
        if not self._cancelled:
            self._future.cancel()

    async def _cancel(self) -> None:
        if not self._sent:
            self._steps.put(Interrupted(f"{self._model} was cancelled before it began."))
            self._future.cancel()
            return
        late = asyncio.get_running_loop().call_later(_END_SECONDS, self._give_up)
        try:
            # The engine begins a job also for a client that has left; only its id ends it.
            await self._told.wait()
            if self._job:
                await exchange.values(start.find, cancellation(self._job, seconds=_CANCEL_SECONDS))
            async with asyncio.timeout(_CANCEL_SECONDS):
                await self._left.wait()
        except Exception:
            # Whatever it is, the job may go on.
            self._give_up()
        finally:
            late.cancel()
            self._future.cancel()

    def _give_up(self) -> None:
        """End the iteration without the job's end."""
        if self._lingering is None:
            self._lingering = Interrupted(
                f"{self._model} was cancelled; the engine has not ended its job yet.",
                hint=_LINGERS,
                data={"job": self._job},
            )
            self._steps.put(self._lingering)
            self._steps.put(None)

    async def _run(self) -> None:
        try:
            async for step in self._progress():
                self._job, self._model = step.job, step.model
                self._told.set()
                self._steps.put(step)
            self._over = True
        except LLMSpellError as error:
            self._over = True
            self._steps.put(error)
        except Exception as error:
            # Nobody asks the future; without this the iteration would just end.
            self._steps.put(EngineError(f"The engine cannot be used: {error!r}."))
        finally:
            self._told.set()
            self._left.set()
            self._steps.put(None)

    async def _progress(self) -> AsyncIterator[PullProgress]:
        async with exchange.answer(self._find, self._ask, self._lost) as found:
            if found is None:
                raise RequestError(
                    "No engine runs, and with it no download or check.",
                    hint="To go on with a download, pull the same model again.",
                )
            async for line in found.response.aiter_lines():
                if line == "data: [DONE]":
                    return
                if line.startswith("data: "):
                    yield _step(line[6:])
            raise self._lost(found.engine, None)

    async def _find(self) -> Connection | None:
        self._sent = False
        found = await (start.find_or_start() if self._ask.method == "POST" else start.find())
        # What is called next sends the request.
        self._sent = True
        return found

    def _lost(self, engine: Connection, silent: float | None) -> EngineDied:
        how = "ended" if silent is None else f"was silent for {silent:.0f} s"
        again = "To go on where it stopped, type the same line again."
        return EngineDied(
            f"The engine (process {engine.pid}) {how} while it worked on {self._model}.",
            hint=again if silent is None else f"{STOP_ENGINE}\n{again}",
            data={"pid": engine.pid, "job": self._job},
        )


def cancellation(job: str, *, discard: bool = False, seconds: float) -> Ask:
    """What ends a job, and throws away what has come of it."""
    return Ask("POST", f"/api/jobs/{quote(job, safe='')}/cancel", {"discard": discard}, seconds)


def _step(data: str) -> PullProgress:
    value = json.loads(data)
    if "error" in value:
        raise calls.error(value)
    return messages.pull_from_wire(value)
