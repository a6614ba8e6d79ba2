"""What a page is told of its notebook, and asks of it: the profile in force, and another one.

The page opens a comm once the extension is loaded. Where no page does so nothing is sent, nothing
is read and nothing is imported.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from llmspell_jupyter.config import profiles
from llmspell_jupyter.errors import LLMSpellError, RequestError
from llmspell_jupyter.magics import reports

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from llmspell_jupyter.magics.cells import Cells

_log = logging.getLogger(__name__)

# A page that is closed or loaded anew does not say so.
_MOST_PAGES = 16


class Page:
    """Answers the pages that show a notebook. Nothing here raises: it would show in a cell.

    A page is sent ``{"profile", "about"}`` when it opens its comm, then with
    ``"profiles": [{"name", "about"}]``, and whenever it changes; with ``"error"``, as errors are on
    the wire, when what the page asked for was refused. It sends ``{"use": NAME}``.

    Args:
        shell: The notebook's IPython.
        cells: Gives what stands behind the magics, made when it is first needed.
    """

    def __init__(self, shell: InteractiveShell, cells: Callable[[], Cells]):
        self._cells = cells
        self._comms: dict[str, Any] = {}
        self._told: Mapping[str, Any] | None = None
        # A cell, or another page, may have changed the profile.
        shell.events.register("post_execute", self._look)

    def opened(self, comm: Any) -> None:
        """Take in a comm that a page opened, and tell it the state."""
        self._comms[comm.comm_id] = comm
        while len(self._comms) > _MOST_PAGES:
            self._comms.pop(next(iter(self._comms))).close()
        comm.on_msg(self._heard)
        comm.on_close(lambda _: self._comms.pop(comm.comm_id, None))
        listed = [{"name": each.name, "about": each.about} for each in profiles.listing()]
        self._send({**self._state(), "profiles": listed}, comm)

    def _heard(self, message: Mapping[str, Any]) -> None:
        content = message.get("content", {})
        comm, asked = self._comms.get(content.get("comm_id", "")), content.get("data", {})
        if comm is None or not isinstance(asked, Mapping) or "use" not in asked:
            return
        try:
            # Pages may have messages of comms handled beside the cell that runs.
            if threading.current_thread() is not threading.main_thread():
                raise RequestError("A cell runs now.", hint="Try again when it has ended.")
            self._cells().use_profile(str(asked["use"]))
        except LLMSpellError as error:
            self._send({**self._state(), "error": error.to_wire()}, comm)
        else:
            self._look()

    def _look(self) -> None:
        """Tell all pages the state if it is another one."""
        if self._comms and (state := self._state()) != self._told:
            for comm in list(self._comms.values()):
                self._send(state, comm)

    def _state(self) -> dict[str, str]:
        try:
            runtime = self._cells().runtime
        except LLMSpellError as error:
            return {"profile": "", "about": error.message}
        return {"profile": runtime.profile.name, "about": reports.profile(runtime)}

    def _send(self, message: Mapping[str, Any], comm: Any) -> None:
        self._told = {name: message[name] for name in ("profile", "about")}
        try:
            comm.send(dict(message))
        except Exception:
            # The page may be gone, and what it misses is no business of the cell.
            _log.debug("a page was not told its profile", exc_info=True)
