"""Which executions' outputs an Output widget catches at the moment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Captures:
    """Follows the comms of Output widgets.

    While ``with output:`` runs, the widget names the execution whose outputs it takes, and pages
    show them in the widget instead of the cell.
    """

    def __init__(self) -> None:
        # What each Output widget takes now: a msg_id, or nothing.
        self._takes: dict[str, str] = {}

    def take(self, kind: str, content: Mapping[str, Any]) -> None:
        """Take in a message about a comm, of whatever target."""
        comm = str(content.get("comm_id", ""))
        data = content.get("data")
        state = data.get("state") if isinstance(data, Mapping) else None
        if kind == "comm_close":
            self._takes.pop(comm, None)
        elif isinstance(state, Mapping):
            opens = kind == "comm_open" and state.get("_model_module") == "@jupyter-widgets/output"
            if opens or (comm in self._takes and "msg_id" in state):
                self._takes[comm] = str(state.get("msg_id") or "")

    def catch(self, execution: str) -> bool:
        """Whether a widget takes the outputs of this execution now."""
        return execution in self._takes.values()
