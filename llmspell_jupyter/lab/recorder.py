"""What a kernel puts out, kept for each execution while no page may be there to see it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from llmspell_jupyter.lab.captures import Captures
from llmspell_jupyter.lab.executions import Execution, display_of

#: Executions that are kept for one kernel.
MOST_EXECUTIONS = 200

#: Bytes of output that are kept for one kernel, nearly.
MOST_BYTES = 64 * 1024**2

_SHOWN = {"stream", "display_data", "execute_result", "error"}


class Recorder:
    """Keeps the outputs of one kernel's executions.

    It takes the messages of the kernel's IOPub channel in their order and nothing else: no clock,
    no network. A page tells to which cell an execution belongs, before or after its messages.
    A notebook goes by the id of its session, which stays when the file gets another name.
    Carriage returns stay as they are, since pages give them their meaning; what an Output widget
    catches is the widget's and not the cell's.

    Args:
        executions: The most executions that are kept, besides those that are running.
        size: The most bytes that are kept.

    Attributes:
        sequence: Number of the last change.
    """

    def __init__(self, *, executions: int = MOST_EXECUTIONS, size: int = MOST_BYTES):
        self.sequence = 0
        self._most = executions
        self._room = size
        # In the order in which the kernel began them; those that wait stand where they were told.
        self._kept: dict[str, Execution] = {}
        self._captures = Captures()

    @property
    def busy(self) -> bool:
        """Whether any execution is running."""
        return any(each.running for each in self._kept.values())

    def of(self, session: str) -> Iterator[Execution]:
        """Executions of a notebook, at most one of each cell that the kernel has begun.

        Those of which the beginning was missed are left out, as half an output would be put into
        the place of a whole one.
        """
        return (each for each in self._kept.values() if each.session == session and each.whole)

    def take(self, message: Mapping[str, Any]) -> bool:
        """Take in one message; whether it changed anything that is kept."""
        kind = message["header"].get("msg_type", "")
        content = message["content"]
        parent = message.get("parent_header") or {}
        if kind in {"comm_open", "comm_msg", "comm_close"}:
            self._captures.take(kind, content)
            return False
        if kind == "update_display_data":
            return self._update(display_of(content), content)
        if parent.get("msg_type") != "execute_request":
            return False
        id_ = str(parent.get("msg_id", ""))
        return self._status(id_, content) if kind == "status" else self._output(id_, kind, content)

    def tell(self, execution: str, session: str, cell: str) -> None:
        """Say to which cell an execution belongs; of a cell the one told last counts.

        What the cell put out before is given up once this execution has begun.
        """
        found = self._kept.get(execution) or self._open(execution)
        found.session, found.cell = session, cell
        self._touch(found)
        found.told = found.sequence
        self._drop_earlier(found)
        self._keep_bounds()

    def forget(self, session: str, executions: list[str]) -> None:
        """Drop executions of a notebook that are over; those that are not kept do not matter."""
        for each in executions:
            found = self._kept.get(each)
            if found is not None and found.session == session and found.over:
                self._drop(found)

    def clear(self, session: str, cell: str) -> None:
        """Drop what a cell has put out; what runs goes on, and what waits is still to come."""
        for each in [*self._kept.values()]:
            if (each.session, each.cell) != (session, cell):
                continue
            if each.over:
                self._drop(each)
            elif each.running:
                each.clear(wait=False)
                self._touch(each)

    def restarted(self) -> None:
        """The kernel has begun anew: what was running is over, what waited will never be."""
        for each in list(self._kept.values()):
            if each.code is None:
                self._drop(each)
            elif not each.over:
                each.running, each.over = False, True
                self._touch(each)
        self._captures = Captures()

    def _status(self, id_: str, content: Mapping[str, Any]) -> bool:
        state = content.get("execution_state")
        found = self._kept.get(id_)
        if state == "busy":
            found = found or self._open(id_)
            found.running = True
            # To the end: those that wait are told of before others begin.
            self._kept[id_] = self._kept.pop(id_)
        elif state == "idle" and found is not None:
            found.running, found.over = False, True
            if found.code is None:
                # The kernel has refused it, as it does after an error in a cell before.
                self._drop(found)
                return True
        else:
            return False
        self._touch(found)
        self._keep_bounds()
        return True

    def _output(self, id_: str, kind: str, content: Mapping[str, Any]) -> bool:
        found = self._kept.get(id_)
        if found is None:
            return False
        if not found.running and not found.over:
            found.running, found.whole = True, False
        if kind == "execute_input":
            found.begin(content.get("code", ""), content.get("execution_count"))
            self._drop_earlier(found)
        elif (kind not in _SHOWN and kind != "clear_output") or self._captures.catch(id_):
            return False
        elif kind == "clear_output":
            found.clear(wait=bool(content.get("wait")))
        else:
            if kind == "display_data":
                # A display that is shown again changes wherever it is shown already.
                self._update(display_of(content), content)
            found.add(kind, content, self._room)
        self._touch(found)
        self._keep_bounds()
        return True

    def _update(self, display: str, content: Mapping[str, Any]) -> bool:
        changed = [each for each in self._kept.values() if each.update(display, content)]
        for each in changed:
            self._touch(each)
        return bool(changed)

    def _open(self, id_: str) -> Execution:
        made = self._kept[id_] = Execution(id_)
        return made

    def _touch(self, found: Execution) -> None:
        self.sequence += 1
        found.sequence = self.sequence

    def _drop(self, found: Execution) -> None:
        self.sequence += 1
        del self._kept[found.id]

    def _drop_earlier(self, found: Execution) -> None:
        if not found.cell or found.code is None:
            return
        for each in list(self._kept.values()):
            same = (each.session, each.cell) == (found.session, found.cell)
            if same and each.code is not None and each.told < found.told:
                self._drop(each)

    def _keep_bounds(self) -> None:
        # One that is running is never given up, nor counted: it may be nobody's.
        resting = [each for each in self._kept.values() if not each.running]
        total = sum(each.size for each in self._kept.values())
        while resting and (len(resting) > self._most or total > self._room):
            gone = next((each for each in resting if not each.cell), resting[0])
            resting.remove(gone)
            total -= gone.size
            self._drop(gone)
