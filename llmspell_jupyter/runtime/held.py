"""Work that is done for a script, or for Python code: how it is waited for, shown and ended.

``lua`` is the session of the script that asks, None when Python code does. A script may hold its
work in a coroutine, and another one may go on with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

from llmspell_jupyter.runtime.lua import LuaSession

_T = TypeVar("_T")


def stoppable(lua: LuaSession | None, cancel: Callable[[], object]) -> AbstractContextManager[None]:
    """A block that waits: a stop of the script calls ``cancel``, which ends the wait."""
    return nullcontext() if lua is None else lua.on_stop(cancel)


def until_lost(lua: LuaSession | None, end: Callable[[], object]) -> AbstractContextManager[None]:
    """A block that a later script may go on with: ``end`` is called when none can any more."""
    return nullcontext() if lua is None else lua.on_loss(end)


def waited_for(
    lua: LuaSession | None, parts: Iterable[_T], cancel: Callable[[], object]
) -> Iterator[_T]:
    """The parts; a stop of a script that waits for one of them calls ``cancel``.

    Between them the script does other things, and its stop is no reason to end this.
    """
    each = iter(parts)
    while True:
        with stoppable(lua, cancel):
            part = next(each, None)
        if part is None:
            return
        yield part


def to_cell(lua: LuaSession | None, show: Callable[[_T], None]) -> Callable[[_T], None]:
    """Shows in the cell of the script that asks; ``show`` does when it has none that runs."""
    if lua is None:
        return show

    def shown(event: _T) -> None:
        # A coroutine that nobody goes on with is closed after the end of its script.
        if not lua.post(event):
            show(event)

    return shown
