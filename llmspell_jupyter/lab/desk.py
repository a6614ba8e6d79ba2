"""What the routes reach the engine through."""

from __future__ import annotations

from collections.abc import Callable

from llmspell_jupyter.engine.client import EngineClient
from llmspell_jupyter.lab.watch import Watch


class Desk:
    """One for each server.

    Args:
        kernels: Says which process each kernel of the server is, by the kernel's id.

    Attributes:
        client: The user's engine.
        watch: Its state.
    """

    def __init__(self, kernels: Callable[[], dict[str, int]] = dict):
        self.client = EngineClient()
        self.watch = Watch(self.client, kernels)
