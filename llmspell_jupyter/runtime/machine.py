"""One Lua state and the calls that its scripts make; everything here runs on one thread."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial
from importlib.resources import files
from typing import Any

from lupa import lua54

from llmspell_jupyter.errors import Forbidden, LLMSpellError, ScriptError, ScriptMemory
from llmspell_jupyter.runtime.border import Border, Message
from llmspell_jupyter.runtime.host import Ask, Desk, Host, Job, Outcome

_log = logging.getLogger(__name__)

#: Bytes that a script with an exhausted limit still gets, so that it can free its variables.
_SPARE = 1 << 20
#: Bytes that must be free beside a string before it is pushed: lupa cannot survive a lack of
#: memory there, because Lua's error would jump over the code that gives the GIL back.
_MARGIN = 1 << 16
#: The same after a full collection; more, so that a script at its limit fails soon instead of
#: collecting at every call.
_MARGIN_AFTER_COLLECTION = 1 << 18
#: Lua cuts a chunk's name to this many bytes in its messages.
_NAME_BYTES = 59

#: The key of a configuration that limits a Lua state.
_MEMORY_KEY = "engines.lua.max_memory_bytes"

_POSITION = re.compile(r'(?s)(\[string ".*?"\]|[^\n]*?):(\d+): (.*)')
_LOAD_STRIPPED = b"local code = ... return load(string.dump(load(code, '=', 't'), true), '=', 'b')"


class Machine:
    """A Lua state with the sandbox loaded. Made, used and closed on one thread."""

    def __init__(
        self,
        globals_: Mapping[str, Sequence[str]],
        classes: Mapping[str, Sequence[str]],
        host: Host,
        desk: Desk,
    ):
        self.border = Border(tuple(classes))
        self._setup = [_lists(globals_), _lists(classes)]
        self._host, self._desk = host, desk
        self._job = Job("", "")
        self._chunks: set[str] = set()
        self._raised: dict[str, LLMSpellError] = {}
        self._thrown: LLMSpellError | None = None
        self._waiting: dict[int, Generator[Any, Any, Any]] = {}
        self._last_call = 0
        self._undelivered = b""
        self._asked: int | None = None
        self._cap: int | None = None
        self._limit: int | None = None
        self._lua = lua54.LuaRuntime(
            encoding=None,
            register_eval=False,
            register_builtins=False,
            attribute_filter=_refuse,
            # Without a limit yet, but counted.
            max_memory=0,
        )
        border = self._load("border.lua")(self._answer)
        self._run, self._collect = self._load("sandbox.lua")(border, desk.stopping)

    @property
    def waiting(self) -> int:
        """Host calls that wait for a callback, in coroutines that the script may yet resume."""
        return len(self._waiting)

    def run(self, job: Job, max_memory_bytes: int | None) -> Outcome:
        """Runs a script to its end.

        Args:
            job: The script.
            max_memory_bytes: Limit of the Lua state meanwhile; None for no limit.
        """
        self._cap = max_memory_bytes
        self._job = job
        self._raised.clear()
        self._chunks.add(_short(job.chunk))
        try:
            self._make_room()
            last = self._run()
            # Lua is done; the host calls that the script let go of are ended now.
            self._desk.in_host(True)
            kind, _, values = self._received(last)
        except lua54.LuaError as error:
            return Outcome(error=self._error(_lua_message(error), {"chunk": job.chunk}))
        if kind == "value":
            return Outcome(value=_one_or_list(values))
        message, chunk, line, traceback, status = values
        place = {"chunk": chunk or job.chunk, "line": line, "traceback": traceback or ""}
        if kind == "error":
            return Outcome(error=self._error(message, place), place=place)
        return Outcome(stopped=kind == "stopped", exit_status=status, place=place)

    def collect(self) -> None:
        """Collects Lua's garbage and lets go of everything that only it referred to."""
        self._raised.clear()
        self._thrown = None
        try:
            while self._received(self._collect()).released:
                pass
        except lua54.LuaError as error:
            _log.debug("no full collection: %s", error)

    def close(self) -> None:
        """Ends host calls that still wait, and the Lua state."""
        for number in tuple(self._waiting):
            self._end(number)
        del self._run, self._collect, self._lua

    # Calls from Lua

    def _answer(self, message: bytes) -> bytes | None:
        """Takes a message from Lua and answers it; never raises.

        The answer is None if it does not fit into the memory that is left. Lua then collects its
        garbage and asks again with an empty message; a second None is final.
        """
        self._desk.in_host(True)
        try:
            if message:
                self._asked = None
                self._undelivered = self._respond(message)
                fits = self._fits(len(self._undelivered) + _MARGIN)
            else:
                fits = self._fits(len(self._undelivered) + _MARGIN_AFTER_COLLECTION)
                if not fits:
                    self._give_up_reply()
            return self._undelivered if fits else None
        except BaseException as error:
            return self._failure(error)
        finally:
            self._desk.in_host(False)

    def _respond(self, message: bytes) -> bytes:
        kind, _, values = self._received(message)
        if kind == "setup":
            return self._reply("return", self._setup)
        if kind == "job":
            job = self._job
            return self._reply("return", [job.chunk, job.source, job.expression, job.variables])
        if self._desk.stopping():
            if kind in ("answer", "failed"):
                self._end(values[0])
            return self._reply("stop", [])
        if kind == "print":
            self._desk.printed(values[0])
            return self._reply("return", [])
        try:
            return self._serve(kind, values)
        except BaseException as error:
            if self._desk.stopping():
                return self._reply("stop", [])
            return self._failure(error)

    def _serve(self, kind: str, values: list[Any]) -> bytes:
        if kind == "forbidden":
            raise Forbidden(f"{values[0]} is not handed out by the sandbox")
        if kind == "call":
            result = self._host.call(values[0], values[1:])
            if not isinstance(result, Generator):
                return self._served(result)
            self._last_call += 1
            return self._step(self._last_call, result, partial(next, result))
        waiting = self._waiting.pop(values[0])
        if kind == "answer":
            return self._step(values[0], waiting, partial(waiting.send, _one_or_list(values[1:])))
        self._thrown = ScriptError(values[1])
        return self._step(values[0], waiting, partial(waiting.throw, self._thrown))

    def _step(
        self, number: int, call: Generator[Any, Any, Any], resume: Callable[[], Any]
    ) -> bytes:
        """Runs a host generator until it asks for a callback or ends."""
        try:
            ask = resume()
        except StopIteration as end:
            return self._served(end.value)
        try:
            if self._desk.stopping():
                call.close()
                return self._reply("stop", [])
            if not isinstance(ask, Ask) or not self.border.owns(ask.callback):
                raise TypeError("a host generator yields Ask with a callback of this session")
            reply = self._reply("ask", [number, ask.callback, *ask.args])
        except BaseException:
            call.close()
            raise
        self._waiting[number] = call
        self._asked = number
        return reply

    def _served(self, value: Any) -> bytes:
        if self._desk.stopping():
            return self._reply("stop", [])
        return self._reply("return", [value])

    def _failure(self, error: BaseException) -> bytes:
        """The reply for an error; the error is remembered for when it reaches the top."""
        if error is self._thrown and self._thrown is not None:
            return self._reply("error", [self._thrown.message])
        if isinstance(error, LLMSpellError):
            message, known = error.message, error
        else:
            _log.error("a call from a script failed", exc_info=error)
            message = f"Internal error: {type(error).__name__}: {error}"
            known = ScriptError(message)
            known.__cause__ = error
        self._raised[message] = known
        return self._reply("error", [message])

    def _reply(self, kind: str, values: Sequence[Any]) -> bytes:
        return self.border.encode(kind, values)

    # Keeping house

    def _received(self, data: bytes) -> Message:
        message = self.border.decode(data)
        for number, times in message.released:
            if times:
                self.border.release(number, times)
            else:
                self._end(number)
        return message

    def _end(self, number: int) -> None:
        """Closes a host generator that nobody will resume."""
        call = self._waiting.pop(number, None)
        try:
            if call is not None:
                call.close()
        except BaseException:
            _log.exception("a host call failed while it was closed")

    def _make_room(self) -> None:
        """Gives each script some memory, even when variables of earlier ones fill the limit."""
        if self._cap is None:
            self._limit = None
        else:
            self._limit = max(self._cap, self._lua.get_memory_used() + _SPARE)
        self._lua.set_max_memory(self._limit or 0)

    def _give_up_reply(self) -> None:
        self.border.take_back()
        if self._asked is not None:
            self._end(self._asked)

    def _fits(self, size: int) -> bool:
        return self._limit is None or bool(self._lua.get_memory_used() + size < self._limit)

    def _error(self, message: str, place: Mapping[str, Any]) -> LLMSpellError:
        """The error for a message that reached the top of a script."""
        if message == "not enough memory":
            size = f" of {self._cap / (1 << 20):g} MiB" if self._cap else ""
            limit = {"limit_bytes": self._cap}
            return ScriptMemory(
                f"The script needs more memory than its limit{size}",
                hint=_more_memory(self._cap) if self._cap else "",
                data={**place, **limit},
            )
        text = message
        found = _POSITION.fullmatch(message)
        if found and (found[1] in self._chunks or found[1].startswith("[string ")):
            text, place = found[3], {**place, "chunk": found[1], "line": int(found[2])}
        known = self._raised.get(message) or self._raised.get(text)
        if known is None:
            return ScriptError(text, data=place)
        known.data.update(place)
        return known

    def _load(self, name: str) -> Any:
        """A trusted chunk, without debug information, so that no message names a line of it."""
        source = (files(__package__) / name).read_bytes()
        return self._lua.execute(_LOAD_STRIPPED, source)


def _refuse(_object: object, _name: object, _setting: bool) -> str:
    raise AttributeError("Lua sees no Python objects")


def _lists(names: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    return {name: list(members) for name, members in names.items()}


def _one_or_list(values: list[Any]) -> Any:
    if len(values) > 1:
        return values
    return values[0] if values else None


def _short(chunk: str) -> str:
    return chunk.encode()[:_NAME_BYTES].decode("utf-8", "surrogateescape")


def _more_memory(limit: int) -> str:
    return (
        "Free what is no longer needed with: NAME = nil\n"
        f"Or allow more with this line in a file: {_MEMORY_KEY} = {2 * limit}\n"
        "Then load the file: %llmspell_profile -c FILE"
    )


def _lua_message(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "not enough memory"
    return str(error).partition("\nstack traceback")[0]
