"""What an answer costs: the prompt tokens that were read for it and the tokens written."""

from __future__ import annotations

from llmspell_jupyter.engine.backend import Embedded, Event, Finished, Reading, Token
from llmspell_jupyter.engine.queue import Ticket


class Charges:
    """Charges a ticket as an answer goes on. Prompt tokens from a cache cost nothing.

    Args:
        ticket: Of the request that is answered.
    """

    def __init__(self, ticket: Ticket):
        self._ticket = ticket
        self._read = 0
        self._written = 0
        self._charged = 0

    def note(self, event: Event) -> None:
        """Charge what an event tells of; the last one settles what was not told before."""
        if isinstance(event, Reading):
            self._read = event.done - event.cached
        elif isinstance(event, Token):
            self._written = event.tokens
        elif isinstance(event, Finished | Embedded):
            usage = event.usage
            self._read = usage.get("prompt_tokens", 0) - usage.get("cached_tokens", 0)
            self._written = usage.get("completion_tokens", 0)
        new = self._read + self._written - self._charged
        if new > 0:
            self._ticket.charge(new)
            self._charged += new
