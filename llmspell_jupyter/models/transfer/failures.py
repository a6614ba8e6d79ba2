"""What can come between us and a file: once more, or not the same file any more."""

from __future__ import annotations

import http.client

from llmspell_jupyter.errors import LLMSpellError


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


class Changed(Exception):
    """The server has other content under this address than before."""


def broken(error: Exception, origin: str, stall_seconds: float) -> Again:
    """What a connection's error means.

    Args:
        error: What was raised.
        origin: Where the connection leads.
        stall_seconds: How long it may be silent.
    """
    if isinstance(error, TimeoutError):
        return Again(f"{origin} is silent for {stall_seconds:g} s")
    if isinstance(error, ConnectionError | http.client.RemoteDisconnected):
        return Again(f"{origin} broke the connection off")
    return Again(f"{origin} does not speak HTTP as it should")
