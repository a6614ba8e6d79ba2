"""Who may talk to the engine: whoever can read its connection file, and no web page."""

from __future__ import annotations

import hmac

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send


class Guard:
    """ASGI middleware that refuses requests without the token.

    Args:
        app: The application behind it.
        token: Wanted as ``Authorization: Bearer TOKEN``.
        hosts: Allowed values of ``Host``; a page that rebinds its name to loopback sends another.
            None allows any, for a Unix socket, which no page can reach.
    """

    def __init__(self, app: ASGIApp, *, token: str, hosts: frozenset[str] | None):
        self._app = app
        self._expected = f"Bearer {token}".encode()
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 401 or 403, or pass the request on."""
        if scope["type"] == "http" and (refusal := self._refusal(Headers(scope=scope))):
            await refusal(scope, receive, send)
        elif scope["type"] in ("http", "lifespan"):
            await self._app(scope, receive, send)

    def _refusal(self, headers: Headers) -> JSONResponse | None:
        if self._hosts is not None and headers.get("host", "") not in self._hosts:
            return _refuse(403, "This host name is not the engine's.")
        if "origin" in headers:
            return _refuse(403, "Web pages may not talk to the engine.")
        given = headers.get("authorization", "").encode("utf-8", "replace")
        if not hmac.compare_digest(given, self._expected):
            return _refuse(401, "The token is missing or wrong.")
        return None


def _refuse(status: int, message: str) -> JSONResponse:
    error = {"message": message, "type": "Refused", "param": None, "code": None}
    return JSONResponse({"error": error}, status_code=status)
