"""Every error that this package raises on purpose.

    LLMSpellError
    ├── ConfigError (ValueError)             a profile or setting is wrong
    │   └── UnknownProfile
    ├── ModelError                           a model name or a model file is wrong
    │   ├── InvalidModelSpec (ValueError)
    │   ├── ModelNotFound (LookupError)
    │   ├── UnsupportedModel (ValueError)    a sound model of a kind that nothing here runs
    │   ├── BadModelFile (ValueError)
    │   │   └── UnsafeFormat                 loading it could run code
    │   ├── HashMismatch (ValueError)        the bytes are not those that were published
    │   ├── NotRemovable (PermissionError)   a model that is not this user's to remove
    │   └── LockDiffers (ValueError)         models are not those of the lock file
    ├── PullError                            a model could not be fetched
    │   ├── Unreachable (ConnectionError)    the server does not answer, or must not be asked
    │   ├── Gated (PermissionError)          its owner wants a token or an accepted licence
    │   ├── NoSpace (OSError)                the disk is too small; nothing was fetched
    │   └── Refused (PermissionError)        an address that files are not fetched from
    ├── RequestError (ValueError)            what was asked of a model or an agent is wrong
    │   ├── ContextOverflow
    │   └── AnswerCut                        an answer that had to be whole reached a limit
    ├── ProviderError                        nobody in this profile can answer
    ├── EngineError
    │   ├── AnswerTimeout (TimeoutError)     an answer took longer than its limit
    │   ├── BackendMissing (ImportError)     a library that runs this kind of model is absent
    │   │   └── BackendOutdated              it is there, but too old to be safe
    │   ├── DeviceUnavailable                the device that was asked for is not there
    │   ├── EngineBusy                       the queue is full
    │   ├── NotEnoughMemory (MemoryError)    a model does not fit; nothing was loaded
    │   ├── EngineUnavailable (ConnectionError)
    │   └── EngineDied (ConnectionError)     the engine went away while it worked
    │       └── WorkerDied                   only the process that held the model did
    │           └── CrashLoop                so often that no further one is started
    ├── ScriptError                          a Lua script failed
    │   ├── Forbidden (PermissionError)      it reached for what scripts may not have
    │   ├── ScriptMemory (MemoryError)
    │   └── ScriptTimeout (TimeoutError)
    └── Interrupted                          the user stopped it

Each carries ``hint``, what to type next, and ``data``, the facts as JSON values, so that an
error keeps both on its way from a worker through the engine to a cell.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

#: Hints that many errors share.
SEE_LOGS = "To see why, type: %llmspell_engine logs (in a terminal: jupyter llmspell engine logs)"
STOP_ENGINE = "Type: %llmspell_engine stop (in a terminal: jupyter llmspell engine stop)"


class LLMSpellError(Exception):
    """Base of all errors here.

    Args:
        message: What went wrong, one sentence or line, without the hint.
        hint: What to type next; empty when the message says it all.
        data: Facts for programs, JSON values only.
    """

    #: HTTP status with which the engine answers.
    status: ClassVar[int] = 500

    def __init__(self, message: str, *, hint: str = "", data: Mapping[str, Any] | None = None):
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.data: dict[str, Any] = dict(data or {})

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self).__name__, self.message, self.hint, self.data))

    def to_wire(self) -> dict[str, Any]:
        """The error as JSON values; ``from_wire`` is its inverse."""
        return {
            "type": type(self).__name__,
            "message": self.message,
            "hint": self.hint,
            "data": self.data,
        }


class ConfigError(LLMSpellError, ValueError):
    """A profile, a configuration file or a variable is wrong."""

    status = 400


class UnknownProfile(ConfigError):
    """No profile has this name."""


class ModelError(LLMSpellError):
    """A model name or a model file is wrong."""

    status = 400


class InvalidModelSpec(ModelError, ValueError):
    """A model name does not follow the grammar, or leads out of the folder it belongs in."""


class ModelNotFound(ModelError, LookupError):
    """No model of this name is on this machine."""

    status = 404


class BadModelFile(ModelError, ValueError):
    """A model file is damaged or of a kind that cannot be read."""


class UnsafeFormat(BadModelFile):
    """Loading the model could run code that came with it; nothing of it was loaded."""


class UnsupportedModel(ModelError, ValueError):
    """The model is sound, and of a kind that no backend here runs."""


class HashMismatch(ModelError, ValueError):
    """A file's bytes are not those that were published; it is not used.

    ``data`` holds ``files``: ``{path, expected, found}`` of each.
    """

    status = 502


class NotRemovable(ModelError, PermissionError):
    """The model belongs to a package, to an administrator or to another program."""

    status = 403


class LockDiffers(ModelError, ValueError):
    """Models on this machine are not those that the lock file names.

    ``data`` holds ``differences``, a line each.
    """

    status = 409


class PullError(LLMSpellError):
    """A model could not be fetched; what has come so far is kept for the next try."""

    status = 502


class Unreachable(PullError, ConnectionError):
    """The server of the model does not answer, or no network may be asked."""

    status = 503


class Gated(PullError, PermissionError):
    """The owner of the model wants a token, or that its licence is accepted first."""

    status = 403


class NoSpace(PullError, OSError):
    """The disk is too small for the model; ``data`` holds ``need`` and ``free`` in bytes."""

    status = 507


class Refused(PullError, PermissionError):
    """A server sent us to an address that files are not fetched from; it was not asked.

    ``data`` holds ``address``.
    """

    status = 403


class RequestError(LLMSpellError, ValueError):
    """A parameter of a request is unknown, of the wrong type or out of range."""

    status = 400


class ContextOverflow(RequestError):
    """The prompt has more tokens than the model can hold; nothing was cut."""


class AnswerCut(RequestError):
    """An answer that follows a schema or grammar ended before it was whole.

    ``data["text"]`` is what there is of it.
    """


class ProviderError(LLMSpellError):
    """No provider of this name is configured, or it cannot do what was asked."""

    status = 400


class EngineError(LLMSpellError):
    """The engine could not do its part."""


class AnswerTimeout(EngineError, TimeoutError):
    """An answer took longer than the agent or the profile allows."""

    status = 504


class BackendMissing(EngineError, ImportError):
    """The library that runs this kind of model is not installed."""

    status = 501


class BackendOutdated(BackendMissing):
    """The library is older than the oldest version that is safe to load models with."""


class DeviceUnavailable(EngineError):
    """The device that was asked for is not there, or the library cannot use it."""

    status = 501


class EngineBusy(EngineError):
    """The queue of this model is full."""

    status = 503


class NotEnoughMemory(EngineError, MemoryError):
    """A model needs more memory than there is; nothing was loaded, and no model had to leave.

    ``data`` holds ``need`` with its parts, ``free``, ``most``, ``short_by`` and ``loaded``; or
    ``cause``, when a library gave the load up.
    """

    status = 507


class EngineUnavailable(EngineError, ConnectionError):
    """No engine runs and none could be started."""

    status = 503


class EngineDied(EngineError, ConnectionError):
    """The engine ended while it worked on this request."""


class WorkerDied(EngineDied):
    """The process that held the model ended; the engine itself is well."""


class CrashLoop(WorkerDied):
    """The processes of a model died one after the other; no further one is started.

    ``data`` holds ``deaths``, ``last`` (the error of the last one) and ``tried_again_in_seconds``.
    """

    status = 503


class ScriptError(LLMSpellError):
    """A Lua script failed.

    Args:
        message: Lua's own message, without position.
        chunk: Name of the chunk that failed, such as ``cell[3]``; None when unknown.
        line: Line in that chunk, from 1; None when unknown.
        traceback: Lua's stack as text, innermost first; may be empty.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        data: Mapping[str, Any] | None = None,
        chunk: str | None = None,
        line: int | None = None,
        traceback: str = "",
    ):
        facts = {"chunk": chunk, "line": line, "traceback": traceback} | dict(data or {})
        super().__init__(message, hint=hint, data=facts)

    @property
    def chunk(self) -> str | None:
        """Name of the chunk that failed."""
        value: str | None = self.data["chunk"]
        return value

    @property
    def line(self) -> int | None:
        """Line in the chunk, from 1."""
        value: int | None = self.data["line"]
        return value


class Forbidden(ScriptError, PermissionError):
    """The script reached for something that the sandbox does not hand out."""


class ScriptMemory(ScriptError, MemoryError):
    """The script needs more memory than its profile allows."""


class ScriptTimeout(ScriptError, TimeoutError):
    """The script ran longer than its limit."""


class Interrupted(LLMSpellError):
    """The user stopped the work; what was done before stays."""

    # What web servers log for a client that did not wait; programs do not ask again.
    status = 499


def from_wire(wire: Mapping[str, Any]) -> LLMSpellError:
    """The error that ``to_wire`` described; an unknown type becomes its nearest base.

    Args:
        wire: ``{type, message, hint, data}`` as read from an engine or a worker.
    """
    text = {key: str(wire.get(key) or "") for key in ("type", "message", "hint")}
    data = wire.get("data")
    return _rebuild(
        text["type"], text["message"], text["hint"], data if isinstance(data, dict) else {}
    )


def _rebuild(name: str, message: str, hint: str, data: dict[str, Any]) -> LLMSpellError:
    cls = next((cls for cls in _family(LLMSpellError) if cls.__name__ == name), LLMSpellError)
    return cls(message, hint=hint, data=data)


def _family(cls: type[LLMSpellError]) -> Iterator[type[LLMSpellError]]:
    yield cls
    for child in cls.__subclasses__():
        yield from _family(child)
