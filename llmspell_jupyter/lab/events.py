"""The stream of server-sent events."""

from __future__ import annotations

import asyncio
import json

from jupyter_server.auth.decorator import authorized
from tornado import web
from tornado.iostream import StreamClosedError

from llmspell_jupyter.lab.handlers import Handler

# Proxies close what is silent; a page takes a longer silence for the server's end.
_HEARTBEAT_SECONDS = 5.0


class Events(Handler):
    """One stream for all that changes: ``{status}``."""

    _track_activity = False
    _stream: asyncio.Task[None] | None = None

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Send what changes until the page is gone."""
        self.set_header("Content-Type", "text/event-stream")
        self.set_header("Cache-Control", "no-cache, no-transform")
        # Asks nginx to pass each event on at once.
        self.set_header("X-Accel-Buffering", "no")
        self._stream = asyncio.create_task(self._send())
        await asyncio.wait({self._stream})
        if not self._stream.cancelled():
            self._stream.result()

    def on_connection_close(self) -> None:
        """The page is gone; called by Tornado."""
        if self._stream is not None:
            self._stream.cancel()

    async def _send(self) -> None:
        with self.desk.watch.page() as page:
            try:
                while True:
                    status = await page.next(_HEARTBEAT_SECONDS)
                    news = status and f"data: {json.dumps({'status': status})}\n\n"
                    self.write(news or ": still here\n\n")
                    await self.flush()
            except StreamClosedError:
                return
