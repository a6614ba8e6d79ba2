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

    def tell(self, status: Mapping[str, Any]) -> None:
        """All that changes by itself is now so."""
        self._status = status
        self._news.set()

    async def next(self, seconds: float) -> Mapping[str, Any] | None:
        """The status, waited for so long; None when nothing is new."""
        try:
            await asyncio.wait_for(self._news.wait(), seconds)
        except TimeoutError:
            return None
        self._news.clear()
        return self._status
