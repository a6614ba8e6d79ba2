"""Asking servers for files: one request at a time, redirects followed one by one.

Only ``http.client``, and nothing is unpacked.
"""

from __future__ import annotations

import email.utils
import http.client
import re
import time
import urllib.parse

from llmspell_jupyter.config import environment
from llmspell_jupyter.errors import Gated, PullError
from llmspell_jupyter.models.transfer import addresses
from llmspell_jupyter.models.transfer.addresses import AGAIN, Target
from llmspell_jupyter.models.transfer.client import Client, Wanted, proxy_login
from llmspell_jupyter.models.transfer.failures import Again, Changed, broken

_MOST_REDIRECTS = 8
_REDIRECTS = (301, 302, 303, 307, 308)
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_HEX = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
# Answers of a CDN to an address whose signature has run out.
_EXPIRED = (401, 403, 404, 410)


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
            login = proxy_login(urllib.parse.urlsplit(proxied))
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
            raise broken(error, target.origin, self.client.stall_seconds) from None

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
            raise broken(error, self._line.origin, client.stall_seconds) from None
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


def _wrong(target: Target, wanted: Wanted, what: str) -> PullError:
    return PullError(
        f"{wanted.name} is not served well by {target.origin}: {what}.",
        hint=f"{AGAIN} If it stays so, the server or a proxy before it is at fault.",
        data={"file": wanted.name, "server": target.origin},
    )
