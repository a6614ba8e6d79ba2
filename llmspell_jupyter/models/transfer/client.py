"""Connections to servers that files come from: names, proxies, TLS, and what every request says.

The connection is made to an address that was checked (``addresses``), and the token goes to the
hub's own origin alone.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import http.client
import re
import socket
import ssl
import threading
import urllib.parse
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from llmspell_jupyter.config import environment
from llmspell_jupyter.errors import PullError, Unreachable
from llmspell_jupyter.models.transfer import addresses
from llmspell_jupyter.models.transfer.addresses import AGAIN, Target
from llmspell_jupyter.models.transfer.failures import Again
from llmspell_jupyter.models.transfer.sockets import Sockets
from llmspell_jupyter.types import Sources

_TOKEN = re.compile(r"[!-~]+")


class _Silent(Exception):
    """There is no connection; another try may find one."""

    def __init__(self, error: Unreachable):
        super().__init__(error.message)
        self.error = error


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file on the hub.

    Attributes:
        url: Its address there.
        name: For messages.
        size: In bytes; None when unknown.
        blob: Its hash; None when unknown.
    """

    url: str
    name: str
    size: int | None = None
    blob: str | None = None


class Client:
    """Asks for files on behalf of one pull. For several threads, with a ``Line`` for each.

    Args:
        sources: The hub, its token, and which other hosts files may come from.
        sockets: Ends all connections of the pull.
        connect_seconds: For one address of a server.
        stall_seconds: A connection without a byte for so long is given up.
        tls: Which certificates are trusted; default are the system's.
    """

    def __init__(
        self,
        sources: Sources,
        sockets: Sockets,
        *,
        connect_seconds: float = 10.0,
        stall_seconds: float = 30.0,
        tls: ssl.SSLContext | None = None,
    ):
        self.sources = sources
        self.sockets = sockets
        self.stall_seconds = stall_seconds
        self._connect_seconds = connect_seconds
        self._tls = tls
        self._places: dict[str, Target] = {}
        self._lock = threading.Lock()
        if sources.token is not None and not _TOKEN.fullmatch(sources.token):
            raise PullError(
                "The token for the hub holds characters that no token has.",
                hint="Set HF_TOKEN again, or type in a terminal: hf auth login",
            )

    def place(self, wanted: Wanted) -> Target:
        """Where a file was found to lie, else its address on the hub."""
        with self._lock:
            known = self._places.get(wanted.url)
        return known or addresses.target(wanted.url, self.sources)

    def remember(self, wanted: Wanted, place: Target | None) -> None:
        """Ask there next time; None is the hub."""
        with self._lock:
            if place is None:
                self._places.pop(wanted.url, None)
            else:
                self._places[wanted.url] = place

    def headers(self, target: Target) -> dict[str, str]:
        """What every request says; the token for the hub's own origin only."""
        made = {
            "Host": target.origin.partition("://")[2],
            "Accept": "*/*",
            "Accept-Encoding": "identity",
            "User-Agent": _agent(),
        }
        if target.ours and self.sources.token:
            made["Authorization"] = f"Bearer {self.sources.token}"
        return made

    def connect(self, target: Target) -> http.client.HTTPConnection:
        """A connection to a target, through the proxy that is set for it.

        Raises:
            Refused: It is at an address that files are not fetched from.
            Again: It does not answer, now.
            Unreachable: It cannot prove who it is, or its proxy is wrong.
        """
        try:
            return self._connected(target)
        except _Silent as silent:
            error = silent.error
            raise Again(error.message.rstrip("."), error=error) from None

    def _connected(self, target: Target) -> http.client.HTTPConnection:
        proxy = environment.proxy(target.origin)
        if proxy is None:
            opened = self._open(target, target.origin)
        else:
            addresses.check_named(target)
            opened = self._through(proxy, target)
        try:
            self.sockets.add(opened)
            opened.settimeout(self.stall_seconds)
            if target.scheme == "https":
                plain = opened
                opened = (self._tls or tls()).wrap_socket(
                    plain, server_hostname=target.host.strip("[]")
                )
                self.sockets.remove(plain)
                self.sockets.add(opened)
        except (OSError, ValueError) as error:
            self._close(opened)
            self.sockets.check()
            raise self._no_tls(target, error) from None
        except BaseException:
            self._close(opened)
            raise
        connection = http.client.HTTPConnection(target.host, target.port)
        connection.sock = opened
        return connection

    def _open(self, target: Target, name: str) -> socket.socket:
        try:
            return self.sockets.connect(addresses.resolved(target), self._connect_seconds, name)
        except Unreachable as error:
            raise _Silent(error) from None

    def _close(self, opened: socket.socket) -> None:
        self.sockets.remove(opened)
        opened.close()

    def _no_tls(self, target: Target, error: Exception) -> Exception:
        if isinstance(error, ssl.SSLCertVerificationError):
            return Unreachable(
                f"{target.origin} cannot prove who it is: {error.verify_message}.",
                hint="Set SSL_CERT_FILE to your organisation's certificates if it stands between.",
                data={"host": target.origin},
            )
        return _Silent(
            Unreachable(
                f"{target.origin} does not answer: there is no secure connection to it.",
                hint=f"Check the connection. {AGAIN}",
                data={"host": target.origin},
            )
        )

    def _through(self, proxy: str, target: Target) -> socket.socket:
        """A connection to a proxy; to a server over TLS it is a tunnel already."""
        parts = urllib.parse.urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        host = parts.hostname or ""
        if parts.scheme != "http" or not host:
            raise Unreachable(
                f"A proxy of the kind {ascii(parts.scheme)[1:-1]} is not supported.",
                hint="Set HTTPS_PROXY to an address that begins with http://",
            )
        port = parts.port or 80
        where = Target("http", host, port, "/", ours=False, anywhere=True)
        opened = self._open(where, f"The proxy {host}:{port}")
        if target.scheme == "http":
            return opened
        try:
            self.sockets.add(opened)
            opened.settimeout(self.stall_seconds)
            self._tunnel(opened, target, proxy_login(parts))
        except (OSError, PullError) as error:
            self._close(opened)
            self.sockets.check()
            if isinstance(error, PullError):
                raise
            raise Unreachable(
                f"The proxy {host}:{port} does not answer.", hint="Check HTTPS_PROXY."
            ) from None
        except BaseException:
            self._close(opened)
            raise
        self.sockets.remove(opened)
        return opened

    def _tunnel(self, opened: socket.socket, target: Target, login: str | None) -> None:
        head = f"CONNECT {target.host}:{target.port} HTTP/1.1\r\nHost: {target.host}:{target.port}"
        extra = f"\r\nProxy-Authorization: {login}" if login else ""
        opened.sendall(f"{head}{extra}\r\n\r\n".encode())
        answer = b""
        # Byte by byte: what follows belongs to the server behind it.
        while not answer.endswith(b"\r\n\r\n") and len(answer) < 16384:
            piece = opened.recv(1)
            if not piece:
                break
            answer += piece
        status = answer.split(b" ", 2)[1:2]
        if status != [b"200"]:
            number = status[0].decode("ascii", "replace")[:3] if status else "nothing"
            raise Unreachable(
                f"The proxy refuses a connection to {target.origin}: {ascii(number)[1:-1]}.",
                hint="Check HTTPS_PROXY, and its user and password if it wants them.",
            )


@functools.cache
def tls() -> ssl.SSLContext:
    """The system's certificates; those that Python packages bring, where it has none."""
    made = ssl.create_default_context()
    places = ssl.get_default_verify_paths()
    if not (places.cafile or places.capath):
        with contextlib.suppress(ImportError):
            import certifi

            made.load_verify_locations(certifi.where())
    return made


def proxy_login(parts: urllib.parse.SplitResult) -> str | None:
    """What a proxy's address says of user and password, as its header has it."""
    if parts.username is None:
        return None
    user, password = (
        urllib.parse.unquote(parts.username),
        urllib.parse.unquote(parts.password or ""),
    )
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@functools.cache
def _agent() -> str:
    """How we call ourselves to servers."""
    try:
        return f"llmspell-jupyter/{version('llmspell-jupyter')}"
    except PackageNotFoundError:
        return "llmspell-jupyter"
