"""What a page that watches has not been told yet."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any


class Page:
    """One open stream. A slow one is told the last state, not all of them."""

    def __init__(self) -> None:
        self._news = asyncio.Event()
        self._status: Mapping[str, Any] | None = None
        self._models = False

    def tell(self, status: Mapping[str, Any]) -> None:
        """The engine's state is this."""
        self._status = status
        self._news.set()

    def tell_models(self) -> None:
        """There are other models on this machine."""
        self._models = True
        self._news.set()

    async def next(self, seconds: float) -> list[Mapping[str, Any]]:
        """What is new, waited for so long; empty when nothing is."""
        try:
            await asyncio.wait_for(self._news.wait(), seconds)
        except TimeoutError:
            return []
        self._news.clear()
        news: list[Mapping[str, Any]] = []
        if self._status is not None:
            news.append({"status": self._status})
        if self._models:
            news.append({"models": True})
        self._status, self._models = None, False
        return news
