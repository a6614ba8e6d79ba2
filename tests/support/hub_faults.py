"""What the loopback hub may do wrong, chosen per path."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal[
    "stall",  # sends up to ``at`` or ``after`` bytes, then nothing for ``seconds``
    "drop",  # sends up to ``at`` or ``after`` bytes, then closes (``reset``: without a goodbye)
    "wrong",  # flips a bit of byte ``at``
    "no_range",  # answers 200 and the whole file to a Range
    "range",  # answers another range: ``by`` bytes later than asked
    "length",  # says a Content-Length that is ``by`` too large
    "etag",  # names the content ``to``
    "gzip",  # answers a gzip bomb of ``size`` bytes
    "status",  # answers ``status`` and ``message``, with Retry-After when ``retry_after`` is set
    "drip",  # sends ``bytes_per_second``
    "redirect",  # sends to the address ``to``
    "expired",  # a signed address of the CDN is no longer accepted
    "silent",  # reads the request and never answers
    "garbage",  # answers what is not HTTP
]


@dataclass
class Fault:
    """A fault of one path.

    Attributes:
        times: How often it happens; None is always. It counts only where it does: a part of a
            file that ends before ``at`` is served well.
        skip: Requests that it lets pass first.
        methods: Requests that it concerns.
        server: Where it happens; None is on both.
        at: Place in the file, in bytes from its beginning.
        after: Bytes of one answer.
        seconds: How long a stall lasts; None is until the client goes.
    """

    kind: Kind
    times: int | None = None
    skip: int = 0
    methods: tuple[str, ...] = ("GET",)
    server: Literal["hub", "cdn"] | None = None
    at: int | None = None
    after: int | None = None
    seconds: float | None = None
    by: int = 0
    to: str = ""
    size: int = 1024**3
    status: int = 503
    message: str = ""
    retry_after: int | None = None
    bytes_per_second: int = 1000
    reset: bool = False
    happened: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def place(self, start: int, end: int) -> int | None:
        """Where in a range of the file it happens; None when it does not happen there."""
        if self.at is None:
            place = start + (self.after if self.after is not None else 0)
            return place if place <= end else None
        return self.at if start <= self.at < end else None

    def take(self) -> bool:
        """Whether it happens to this request."""
        with self._lock:
            if self.skip > 0:
                self.skip -= 1
                return False
            if self.times is not None and self.happened >= self.times:
                return False
            self.happened += 1
            return True
