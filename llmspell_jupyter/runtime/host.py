"""What meets around a Lua session: the host that answers calls, and the words between parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from llmspell_jupyter.errors import LLMSpellError
from llmspell_jupyter.runtime.border import Callback


@dataclass(frozen=True, slots=True)
class Printed:
    """What a script wrote: a line with its newline from ``print``, raw text from ``io.write``."""

    text: str


@dataclass(frozen=True, slots=True)
class Ask:
    """What a host generator yields to have a Lua function run.

    The ``yield`` gives what the function returned: its value, None for none or a list for
    several. It raises ``ScriptError`` if the function raised, and ``GeneratorExit`` if the
    script was stopped or dropped the coroutine in which it waited.
    """

    callback: Callback
    args: tuple[Any, ...] = ()


class Host(Protocol):
    """What answers the calls of a script."""

    def call(self, name: str, args: list[Any]) -> Any:
        """Answers one call, on the thread of the session.

        Args:
            name: ``Global.function``, or ``Class:method`` with the object as first argument.
            args: Decoded arguments; may be longer or shorter than expected.

        Returns:
            A value that ``Border`` can encode, or a generator that yields ``Ask`` and
            returns one.

        Raises:
            LLMSpellError: The script sees the message as a Lua string error.
        """
        ...


class Desk(Protocol):
    """What a machine asks of the session around it."""

    def stopping(self) -> bool:
        """Whether the running script has to end."""
        ...

    def printed(self, text: str) -> None:
        """Takes what the script wrote."""
        ...

    def in_host(self, inside: bool) -> None:
        """Learns that Python code of the host begins or ends."""
        ...


@dataclass(frozen=True, slots=True)
class Job:
    """A script to run.

    Attributes:
        variables: Globals to set before.
        expression: Try the source as an expression first, and give its value.
    """

    source: str
    chunk: str
    expression: bool = False
    variables: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a script ended.

    Attributes:
        value: What it returned: a value, None for nothing or a list of several.
        error: Why it failed; None if it did not.
        stopped: It ended because ``Desk.stopping`` said so.
        exit_status: What it gave to ``os.exit``; None if it did not call that.
        place: ``chunk``, ``line`` and ``traceback`` of where it ended early.
    """

    value: Any = None
    error: LLMSpellError | None = None
    stopped: bool = False
    exit_status: int | None = None
    place: Mapping[str, Any] = field(default_factory=dict)
