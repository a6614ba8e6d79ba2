"""What the routes reach the engine through."""

from __future__ import annotations

from llmspell_jupyter.engine.client import EngineClient
from llmspell_jupyter.lab.watch import Watch


class Desk:
    """One for each server.

    Attributes:
        client: The user's engine.
        watch: Its state.
    """

    def __init__(self) -> None:
        self.client = EngineClient()
        self.watch = Watch(self.client)
