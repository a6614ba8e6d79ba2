"""What all routes share: who may ask, what is read, how an error is told."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler
from tornado import web

from llmspell_jupyter.errors import LLMSpellError, RequestError

if TYPE_CHECKING:
    from llmspell_jupyter.lab.desk import Desk

#: Where the server's settings keep the desk.
DESK = "llmspell"


@dataclass(frozen=True, slots=True)
class Asked:
    """A request.

    Attributes:
        parts: What the groups of the route's pattern matched.
        query: Parameters of the address; of several of one name the last.
        body: What was sent; empty for a GET.
    """

    parts: tuple[str, ...]
    query: Mapping[str, str]
    body: Mapping[str, Any]


Answer = Callable[["Desk", Asked], Awaitable[Mapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class Route:
    """An address below the root, and what answers there.

    Attributes:
        path: Pattern of the path, without slashes at its ends; groups become ``Asked.parts``.
        handler: How it is asked: a handler of the server.
        answer: What answers; None where the handler does so itself.
    """

    path: str
    handler: type[Handler]
    answer: Answer | None = None

    def rule(self, base: str) -> tuple[str, type[Handler], dict[str, Any]]:
        """The route as Tornado takes it."""
        return f"{base}/{self.path}", self.handler, {"answer": self.answer}


class Handler(APIHandler):
    """A handler that answers as its route says."""

    auth_resource = "llmspell"

    def initialize(self, answer: Answer | None) -> None:
        """Take note of what answers; called by Tornado."""
        self._answer = answer

    @property
    def desk(self) -> Desk:
        """What the routes reach the engine through."""
        return cast("Desk", self.settings[DESK])

    async def answer(self, *parts: str) -> None:
        """Send what the route answers."""
        assert self._answer is not None
        try:
            value = await self._answer(self.desk, self._asked(parts))
        except LLMSpellError as error:
            self.set_status(error.status)
            value = error.to_wire()
        await self.finish(json.dumps(value))

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Tell of an error that the server found; called by Tornado."""
        error = kwargs.get("exc_info", (None, None, None))[1]
        said = error.log_message if isinstance(error, web.HTTPError) else None
        reason = self._reason or "The server failed."
        wire = {"message": said or reason, "hint": "", "type": "HTTPError", "data": {}}
        self.finish(json.dumps(wire))

    def _asked(self, parts: tuple[str, ...]) -> Asked:
        query = {
            name: values[-1].decode("utf-8", "replace")
            for name, values in self.request.query_arguments.items()
        }
        return Asked(parts, query, self._body())

    def _body(self) -> Mapping[str, Any]:
        if not self.request.body:
            return {}
        try:
            body = json.loads(self.request.body)
        except (ValueError, RecursionError) as error:
            raise RequestError(f"The body is not JSON: {error}") from None
        if not isinstance(body, dict):
            raise RequestError("The body is not a JSON object.")
        return body


class Get(Handler):
    """A route that is only read."""

    @web.authenticated
    @authorized
    async def get(self, *parts: str) -> None:
        """Answer."""
        await self.answer(*parts)


class Post(Handler):
    """A route that changes something or asks a network."""

    @web.authenticated
    @authorized
    async def post(self, *parts: str) -> None:
        """Answer."""
        await self.answer(*parts)
