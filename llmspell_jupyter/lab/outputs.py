"""Routes by which a page keeps what its cells put out, and gets it back after a reload."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from tornado.iostream import StreamClosedError

from llmspell_jupyter.errors import RequestError
from llmspell_jupyter.lab.executions import Execution
from llmspell_jupyter.lab.handlers import Asked, Get, Post, Route
from llmspell_jupyter.lab.kernels import Keeper

_T = TypeVar("_T")

# A page that waits for news asks again after so long.
_MOST_SECONDS = 10.0

# Changes within this time are told together: words come faster than pages are drawn. It is
# longer the more there is, as each time all of it is sent.
_TOGETHER_SECONDS = 0.1
_TOGETHER_SECONDS_PER_BYTE = 2e-7


class _Read(Get):
    """Outputs are the kernel's: whoever may not read kernels may not read them here."""

    auth_resource = "kernels"

    async def answer(self, *parts: str) -> None:
        """Send what the route answers, unless the page has gone while it waited."""
        with suppress(StreamClosedError):
            await super().answer(*parts)


class _Write(Post):
    """What is kept is a matter of the kernel, too."""

    auth_resource = "kernels"


class Outputs:
    """What answers there.

    A notebook goes by the id of its Jupyter session, which stays when the file gets another name.

    Args:
        keeper: The kernels that are kept.
    """

    def __init__(self, keeper: Keeper):
        self._keeper = keeper

    @property
    def routes(self) -> tuple[Route, ...]:
        """All routes."""
        kernel = "streams/([^/]+)"
        return (
            Route(kernel, _Read, self._list),
            Route(f"{kernel}/keep", _Write, self._keep),
            Route(f"{kernel}/tell", _Write, self._tell),
            Route(f"{kernel}/forget", _Write, self._forget),
            Route(f"{kernel}/clear", _Write, self._clear),
        )

    async def _list(self, desk: object, asked: Asked) -> Mapping[str, Any]:
        """``?session=&after=0&wait=0``: what the cells of a notebook have put out.

        ``{sequence, busy, known, executions: [{id, cell, told, state, count, code, outputs}]}``:
        all that changed after the sequence number, each with all of its outputs, and the ids of
        all that there are. With ``wait`` the answer comes once there is any change, or after so
        many seconds.
        """
        session = asked.query.get("session", "")
        after = int(_number(asked, "after"))
        kept = self._keeper.get(asked.parts[0])
        if kept is None:
            return {"sequence": 0, "busy": False, "known": [], "executions": []}
        recorder = kept.recorder
        wait = min(_number(asked, "wait"), _MOST_SECONDS)
        if wait and await kept.changed(after, wait):
            size = sum(each.size for each in recorder.of(session) if each.running)
            await asyncio.sleep(_TOGETHER_SECONDS + size * _TOGETHER_SECONDS_PER_BYTE)
        found = list(recorder.of(session))
        if after > recorder.sequence:
            after = 0
        return {
            "sequence": recorder.sequence,
            "busy": recorder.busy,
            "known": [each.id for each in found],
            "executions": [_wire(each) for each in found if each.sequence > after],
        }

    async def _keep(self, desk: object, asked: Asked) -> Mapping[str, Any]:
        """``{}``: keep what the kernel puts out from now on."""
        await self._keeper.keep(asked.parts[0]).heard()
        return {}

    async def _tell(self, desk: object, asked: Asked) -> Mapping[str, Any]:
        """``{session, executions: [[id, cell]]}``: the cells of executions; keeps the kernel."""
        session = _text(asked, "session")
        executions = _all(asked, "executions", tuple[str, str])
        kept = self._keeper.keep(asked.parts[0])
        for execution, cell in executions:
            kept.recorder.tell(execution, session, cell)
        kept.wake()
        return {}

    async def _forget(self, desk: object, asked: Asked) -> Mapping[str, Any]:
        """``{session, executions: [id]}``: these are in the file."""
        session, executions = _text(asked, "session"), _all(asked, "executions", str)
        if kept := self._keeper.get(asked.parts[0]):
            kept.recorder.forget(session, executions)
            kept.wake()
        return {}

    async def _clear(self, desk: object, asked: Asked) -> Mapping[str, Any]:
        """``{session, cells: [cell]}``: what these have put out is not wanted any longer."""
        session, cells = _text(asked, "session"), _all(asked, "cells", str)
        if kept := self._keeper.get(asked.parts[0]):
            for each in cells:
                kept.recorder.clear(session, each)
            kept.wake()
        return {}


def _wire(execution: Execution) -> dict[str, Any]:
    state = "over" if execution.over else "running" if execution.running else "waiting"
    return {
        "id": execution.id,
        "cell": execution.cell,
        "told": execution.told,
        "state": state,
        "count": execution.count,
        "code": execution.code,
        "outputs": execution.outputs,
    }


def _text(asked: Asked, name: str) -> str:
    value = asked.body.get(name)
    if not isinstance(value, str) or not value or len(value) > 4096:
        raise RequestError(f"{name!r} is not a text of 1 to 4,096 characters.")
    return value


def _all(asked: Asked, name: str, kind: type[_T]) -> list[_T]:
    try:
        return TypeAdapter(list[kind]).validate_python(asked.body.get(name))  # type: ignore[valid-type]
    except ValidationError as error:
        raise RequestError(f"{name!r} is wrong: {error.errors()[0]['msg']}.") from None


def _number(asked: Asked, name: str) -> float:
    try:
        value = float(asked.query.get(name, "0"))
    except ValueError:
        value = -1.0
    if not 0 <= value < 2**53:
        raise RequestError(f"{name!r} is not a number from 0 on.")
    return value
