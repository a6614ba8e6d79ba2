"""Text from tokens: whole characters only, and nothing of a stop string."""

from __future__ import annotations

import codecs
from collections.abc import Sequence


class TextAssembler:
    """Turns the bytes of one token after the other into text that can be shown at once.

    Text is held back while a character is incomplete or while it may be the beginning of a stop
    string. The stop string that is complete first ends the text just before itself; of two that
    end together, the longer one counts. How the bytes were split makes no difference.

    Args:
        stop: Strings that end the text, none of them empty.
    """

    def __init__(self, stop: Sequence[str] = ()):
        self._stop = tuple(stop)
        # Bytes that can never be part of a character become U+FFFD.
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""
        self._stopped = False

    @property
    def stopped(self) -> bool:
        """True once a stop string was found; later bytes are ignored."""
        return self._stopped

    def push(self, data: bytes) -> str:
        """Take the bytes of one token; return what can be shown now, perhaps nothing."""
        if self._stopped:
            return ""
        text = self._decoder.decode(data)
        if not self._stop:
            return text
        self._held += text
        return self._release(self._stop_at() if text else None)

    def finish(self) -> str:
        """What was held back for a stop string that never came; half a character is dropped."""
        text, self._held = self._held, ""
        return text

    def _stop_at(self) -> int | None:
        found = [(at + len(stop), at) for stop in self._stop if (at := self._held.find(stop)) >= 0]
        return min(found)[1] if found else None

    def _release(self, stop_at: int | None) -> str:
        if stop_at is not None:
            text, self._held = self._held[:stop_at], ""
            self._stopped = True
            return text
        safe = len(self._held) - max(_overlap(self._held, stop) for stop in self._stop)
        text, self._held = self._held[:safe], self._held[safe:]
        return text


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of ``text`` begin ``stop``."""
    longest = min(len(text), len(stop) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(stop[:size])), 0)
