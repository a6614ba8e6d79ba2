"""Asking servers for files: one request at a time, redirects followed one by one.

Only ``http.client``: the connection is made to an address that was checked (``addresses``), the
token goes to the hub's own origin alone, and nothing is unpacked.
"""

from __future__ import annotations

import base64
import contextlib
import email.utils
import functools
import http.client
import re
import socket
import ssl
import threading
import time
import urllib.parse
from dataclasses import dataclass

from llmspell_jupyter.config import environment
from llmspell_jupyter.errors import Gated, LLMSpellError, PullError, Unreachable
from llmspell_jupyter.models.pull import addresses
from llmspell_jupyter.models.pull.addresses import AGAIN, Target
from llmspell_jupyter.models.pull.pace import PACE, Pace
from llmspell_jupyter.models.pull.sockets import Sockets
from llmspell_jupyter.types import Sources

_MOST_REDIRECTS = 8
_REDIRECTS = (301, 302, 303, 307, 308)
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_HEX = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_TOKEN = re.compile(r"[!-~]+")
# Answers of a CDN to an address whose signature has run out.
_EXPIRED = (401, 403, 404, 410)


class Again(Exception):
    """The request failed in a way that another try may mend.

    Attributes:
        why: For the user, without a full stop.
        wait: Seconds that the server asks us to wait; None when it does not say.
        fewer: It has too many requests of ours.
        error: What to raise when no try mends it; None is a ``PullError`` that says why.
    """

    def __init__(
        self,
        why: str,
        *,
        wait: float | None = None,
        fewer: bool = False,
        error: LLMSpellError | None = None,
    ):
        super().__init__(why)
        self.why = why
        self.error = error
        self.wait = wait
        self.fewer = fewer


class _Silent(Exception):
    """There is no connection; another try may find one."""

    def __init__(self, error: Unreachable):
        super().__init__(error.message)
        self.error = error


class Changed(Exception):
    """The server has other content under this address than before."""


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
        pace: How long to wait.
        tls: Which certificates are trusted; default are the system's.
    """

    def __init__(
        self,
        sources: Sources,
        sockets: Sockets,
        pace: Pace = PACE,
        tls: ssl.SSLContext | None = None,
    ):
        self.sources = sources
        self.sockets = sockets
        self.pace = pace
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
        from llmspell_jupyter.models.pull import agent

        made = {
            "Host": target.origin.partition("://")[2],
            "Accept": "*/*",
            "Accept-Encoding": "identity",
            "User-Agent": agent(),
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
            opened.settimeout(self.pace.stall_seconds)
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
            return self.sockets.connect(addresses.resolved(target), self.pace.connect_seconds, name)
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
            opened.settimeout(self.pace.stall_seconds)
            self._tunnel(opened, target, _proxy_login(parts))
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


class Line:
    """One connection, which is kept for the next request to the same origin. For one thread.

    Attributes:
        client: On whose behalf it asks.
        origin: Where it leads; empty at first.
    """

    def __init__(self, client: Client):
        self.client = client
        self._connection: http.client.HTTPConnection | None = None
        self.origin = ""

    def close(self) -> None:
        """End the connection."""
        if self._connection is not None:
            if self._connection.sock is not None:
                self.client.sockets.remove(self._connection.sock)
            self._connection.close()
        self._connection = None

    def get(self, wanted: Wanted, start: int, end: int) -> Answer:
        """Ask for bytes ``start`` to ``end``, the end not included.

        Raises:
            Again: Another try may mend it.
            Changed: The server has other content now.
            PullError: It will not.
        """
        target = self.client.place(wanted)
        for _ in range(_MOST_REDIRECTS):
            response = self._ask(target, start, end, wanted)
            if response.status not in _REDIRECTS:
                return self._answer(wanted, target, response, start, end)
            location = response.headers.get("Location", "")
            _same(response.headers.get("X-Linked-Etag"), wanted)
            self._skip(response)
            target = addresses.target(addresses.join(target, location), self.client.sources)
            self.client.remember(wanted, target)
        self.client.remember(wanted, None)
        raise PullError(f"{target.origin} sends us round in circles.", hint=AGAIN)

    def _ask(
        self, target: Target, start: int, end: int, wanted: Wanted
    ) -> http.client.HTTPResponse:
        headers = self.client.headers(target)
        if end > start:
            headers["Range"] = f"bytes={start}-{end - 1}"
        proxied = target.scheme == "http" and environment.proxy(target.origin)
        if proxied:
            login = _proxy_login(urllib.parse.urlsplit(proxied))
            headers |= {"Proxy-Authorization": login} if login else {}
        kept = self._connection is not None and self.origin == target.origin
        if not kept:
            self.close()
            self._connection = self.client.connect(target)
            self.origin = target.origin
        assert self._connection is not None
        try:
            self._connection.putrequest(
                "GET",
                target.url if proxied else target.path,
                skip_host=True,
                skip_accept_encoding=True,
            )
            for name, value in headers.items():
                self._connection.putheader(name, value)
            self._connection.endheaders()
            return self._connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            self.client.sockets.check()
            if kept and not isinstance(error, TimeoutError):
                # The server had closed it between two requests.
                return self._ask(target, start, end, wanted)
            raise _again(error, target, self.client.pace) from None

    def _skip(self, response: http.client.HTTPResponse) -> None:
        """Be done with an answer whose content does not matter, if it is short."""
        length = response.length
        try:
            if length is None or length > 65536 or response.will_close:
                self.close()
            else:
                response.read()
        except (OSError, http.client.HTTPException):
            self.close()
        response.close()

    def _answer(
        self,
        wanted: Wanted,
        target: Target,
        response: http.client.HTTPResponse,
        start: int,
        end: int,
    ) -> Answer:
        status = response.status
        if status not in (200, 206):
            self._skip(response)
            raise self._failure(wanted, target, response)
        try:
            return self._checked(wanted, target, response, start, end)
        except BaseException:
            self.close()
            raise

    def _checked(
        self,
        wanted: Wanted,
        target: Target,
        response: http.client.HTTPResponse,
        start: int,
        end: int,
    ) -> Answer:
        if response.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
            raise _wrong(target, wanted, "it is sent compressed, which was not asked for")
        etag = _etag(response.headers.get("ETag"))
        if target.ours:
            _same(etag, wanted)
            _same(response.headers.get("X-Linked-Etag"), wanted)
        length = response.length
        if response.status == 200:
            if wanted.size is not None and length is not None and length != wanted.size:
                raise _wrong(target, wanted, f"it has {length:,} bytes, not {wanted.size:,}")
            return Answer(self, response, etag, 0, wanted.size or length or end, whole=True)
        match = _RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
        if match is None or int(match[1]) != start or int(match[2]) >= end:
            raise _wrong(target, wanted, "other bytes were sent than were asked for")
        if wanted.size is not None and match[3] not in ("*", str(wanted.size)):
            raise _wrong(target, wanted, f"it has {int(match[3]):,} bytes, not {wanted.size:,}")
        if length is not None and length != int(match[2]) + 1 - start:
            raise _wrong(target, wanted, "its length and its range contradict each other")
        return Answer(self, response, etag, start, int(match[2]) + 1, whole=False)

    def _failure(
        self, wanted: Wanted, target: Target, response: http.client.HTTPResponse
    ) -> Exception:
        status, wait = response.status, _seconds(response.headers.get("Retry-After"))
        moved = target.url != wanted.url
        if moved and status in _EXPIRED:
            self.client.remember(wanted, None)
            return Again(f"{target.origin} no longer knows the address")
        if status in (408, 425, 429) or status >= 500:
            busy = status in (429, 503)
            why = "is busy" if busy else f"answers {status}"
            return Again(f"{target.origin} {why}", wait=wait, fewer=busy)
        if status in (401, 403) and target.ours:
            return Gated(
                f"{wanted.name} is not given without permission: {target.origin} answers {status}.",
                hint=(
                    "Accept the model's licence on its page and set HF_TOKEN (or type in a "
                    "terminal: hf auth login), then type the same line again."
                ),
                data={"status": status},
            )
        what = {404: "it is not there", 416: "the server does not have the bytes asked for"}
        return _wrong(target, wanted, what.get(status, f"the server answers {status}"))


class Answer:
    """The content of an answer.

    Attributes:
        etag: What the server calls the content; None when it does not say.
        start, end: Which bytes of the file come.
        whole: The whole file comes, whatever was asked for.
    """

    def __init__(
        self,
        line: Line,
        response: http.client.HTTPResponse,
        etag: str | None,
        start: int,
        end: int,
        *,
        whole: bool,
    ):
        self._line = line
        self._response = response
        self.etag = etag
        self.start = start
        self.end = end
        self.whole = whole
        self._left = end - start

    def read_into(self, buffer: memoryview) -> int:
        """Read what has come, at most the buffer; 0 at the end of the range.

        Raises:
            Again: The connection broke or is silent.
        """
        if self._left <= 0:
            return 0
        client = self._line.client
        try:
            count = self._read(buffer[: self._left])
        except (OSError, ValueError, http.client.HTTPException) as error:
            client.sockets.check()
            raise _again(error, None, client.pace, self._line.origin) from None
        client.sockets.check()
        if not count:
            raise Again(f"{self._line.origin} broke the connection off")
        self._left -= count
        return count

    def close(self) -> None:
        """Be done; the connection is kept if it can be."""
        if self._left > 0 or self._response.will_close or self._response.chunked:
            self._line.close()
        self._response.close()

    def _read(self, buffer: memoryview) -> int:
        if self._response.chunked:
            data = self._response.read1(len(buffer))
            buffer[: len(data)] = data
            return len(data)
        # One read of what has come; that of the response waits until the buffer is full.
        return self._response.fp.readinto1(buffer)


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


def _same(etag: str | None, wanted: Wanted) -> None:
    """What the hub says the content is must be what was planned."""
    given = _etag(etag)
    # Other endpoints name content in other ways.
    if given and wanted.blob and _HEX.fullmatch(given) and given != wanted.blob:
        raise Changed


def _etag(text: str | None) -> str | None:
    text = (text or "").strip()
    return None if not text or text.startswith("W/") else text.strip('"')[:200]


def _seconds(text: str | None) -> float | None:
    """Retry-After in seconds; its other form, a date, included."""
    if not text:
        return None
    if text.strip().isdecimal():
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None


def _again(
    error: Exception, target: Target | None, pace: Pace, origin: str = ""
) -> Again | Exception:
    name = target.origin if target else origin
    if isinstance(error, TimeoutError):
        return Again(f"{name} is silent for {pace.stall_seconds:g} s")
    if isinstance(error, ConnectionError | http.client.RemoteDisconnected):
        return Again(f"{name} broke the connection off")
    return Again(f"{name} does not speak HTTP as it should")


def _wrong(target: Target, wanted: Wanted, what: str) -> PullError:
    return PullError(
        f"{wanted.name} is not served well by {target.origin}: {what}.",
        hint=f"{AGAIN} If it stays so, the server or a proxy before it is at fault.",
        data={"file": wanted.name, "server": target.origin},
    )


def _proxy_login(parts: urllib.parse.SplitResult) -> str | None:
    if parts.username is None:
        return None
    user, password = (
        urllib.parse.unquote(parts.username),
        urllib.parse.unquote(parts.password or ""),
    )
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
