"""What scripts may call: methods marked ``script``, and nothing else."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Generator
from typing import Any, ClassVar, TypeVar

from llmspell_jupyter.runtime.border import HostObject
from llmspell_jupyter.runtime.host import Ask

_F = TypeVar("_F", bound=Callable[..., Any])

_MARK = "_llmspell_script"


def script(method: _F) -> _F:
    """Let scripts call this method; its name is what they write.

    A method that needs a function of the script is a generator that yields ``Ask``. Called from
    Python it runs to its end at once, and what it asks is answered by Python functions.
    """
    if not inspect.isgeneratorfunction(method):
        setattr(method, _MARK, method)
        return method

    @functools.wraps(method)
    def whole(*args: Any) -> Any:
        return _drive(method(*args))

    setattr(whole, _MARK, method)
    return whole  # type: ignore[return-value]


class ScriptGlobal:
    """A global table of scripts; the same object is there for Python."""

    #: Name that scripts write.
    name: ClassVar[str]


class ScriptObject(HostObject):
    """An object that scripts hold, with the methods that are marked ``script``."""


def exported(cls: type) -> list[str]:
    """Names of the methods of a class that scripts may call."""
    return [name for name in dir(cls) if hasattr(getattr(cls, name), _MARK)]


def call(target: object, method: str, args: list[Any]) -> Any:
    """Call an exported method as a script does: surplus arguments are dropped, absent ones nil.

    Returns:
        What the method returns, or its generator if it asks for functions.
    """
    marked = getattr(getattr(type(target), method), _MARK)
    wanted = len(inspect.signature(marked).parameters) - 1
    given = [*args[:wanted], *[None] * (wanted - len(args))]
    return marked(target, *given)


def _drive(generator: Generator[Ask, Any, Any]) -> Any:
    answer = None
    while True:
        try:
            ask = generator.send(answer)
        except StopIteration as end:
            return end.value
        try:
            answer = ask.callback(*ask.args)  # type: ignore[operator]
        except BaseException as error:
            generator.throw(error)
            raise
