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
from llmspell_jupyter.lab.logs import Bounded, bounded

if TYPE_CHECKING:
    from llmspell_jupyter.lab.desk import Desk

#: Where the server's settings keep the desk.
DESK = "llmspell"

# What pages send is short; reading more would keep the server from all others.
_LARGEST_BODY = 1024 * 1024


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

    async def prepare(self) -> None:  # type: ignore[override]
        """Refuse what no page of this server sends; called by Tornado.

        Beyond what Jupyter refuses by itself: images, scripts and forms of other sites, for which
        browsers send cookies and name no origin.
        """
        await super().prepare()
        if self.request.headers.get("Sec-Fetch-Mode", "").lower() == "no-cors":
            raise web.HTTPError(403, "Only scripts of this server's pages may ask this.")

    @property
    def desk(self) -> Desk:
        """What the routes reach the engine through."""
        return cast("Desk", self.settings[DESK])

    @property
    def log(self) -> Any:
        """The server's log, in which lines stay short."""
        return Bounded(super().log, {})

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
        known = isinstance(error, web.HTTPError)
        message = (error.log_message if known else None) or self._reason
        hint = "" if known else "The log of the Jupyter server says why."
        wire: dict[str, Any] = {"message": message, "hint": hint, "type": "HTTPError", "data": {}}
        self.finish(json.dumps(wire))

    def log_exception(self, typ: Any, value: BaseException | None, tb: Any) -> None:
        """Note an error; called by Tornado, whose own lines hold all that was sent."""
        if not isinstance(value, web.HTTPError):
            self.log.error("%s failed", self._request_summary(), exc_info=value)

    def _request_summary(self) -> str:
        return bounded(super()._request_summary())

    def _asked(self, parts: tuple[str, ...]) -> Asked:
        query = {
            name: values[-1].decode("utf-8", "replace")
            for name, values in self.request.query_arguments.items()
        }
        return Asked(parts, query, self._body())

    def _body(self) -> Mapping[str, Any]:
        sent = self.request.body
        if not sent:
            return {}
        if len(sent) > _LARGEST_BODY:
            raise RequestError(f"The request is larger than {_LARGEST_BODY // 1024**2} MiB.")
        try:
            body = json.loads(sent)
        except (ValueError, RecursionError):
            raise RequestError("The body is not JSON.") from None
        if not isinstance(body, dict):
            raise RequestError("The body is not a JSON object.")
        return body


class Get(Handler):
    """A route that is only read; looking is no activity that would keep an idle server running."""

    _track_activity = False

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


class Nowhere(Handler):
    """Every address below the root where nothing else is."""

    @web.authenticated
    @authorized
    async def get(self, *parts: str) -> None:
        """Say so."""
        raise web.HTTPError(404, "There is no such route, or it is asked in another way.")

    @web.authenticated
    @authorized
    async def post(self, *parts: str) -> None:
        """Say so."""
        raise web.HTTPError(404, "There is no such route, or it is asked in another way.")
