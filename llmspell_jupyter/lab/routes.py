"""All routes. A further one is a line here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmspell_jupyter.lab.desk import Desk
from llmspell_jupyter.lab.handlers import Asked, Get, Route


async def _status(desk: Desk, asked: Asked) -> Mapping[str, Any]:
    return await desk.watch.status()


ROUTES = (Route("status", Get, _status),)
