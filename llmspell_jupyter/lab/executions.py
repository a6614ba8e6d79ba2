"""One execution of a kernel, with its outputs as a notebook file holds them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# What a small output costs besides its text.
_FRAME = 200

_CUT = "The rest of this output was not kept: it was too much.\n"


@dataclass(slots=True, eq=False)
class _Output:
    """One output; the pieces of a stream stay apart until somebody reads them."""

    value: dict[str, Any]
    size: int
    pieces: list[str] = field(default_factory=list)

    def read(self) -> dict[str, Any]:
        if len(self.pieces) > 1:
            self.pieces = ["".join(self.pieces)]
        return {**self.value, "text": self.pieces[0]} if self.pieces else self.value


@dataclass(slots=True, eq=False)
class Execution:
    """What was run, where it belongs, and what has come of it.

    Attributes:
        id: ``msg_id`` of the request.
        session: The session of the notebook it belongs to; empty while nobody has told.
        cell: The cell there, by a name that its pages agree on.
        told: Place of that telling among all changes of the kernel.
        code: What was run; None until the kernel has said.
        count: The number in the prompt; None until the kernel has said.
        running: The kernel is at it.
        over: The kernel has done with it.
        whole: It was seen from its beginning on.
        cut: Outputs are missing at the end, as they were too many.
        sequence: Place of its last change among all changes of the kernel.
        size: Bytes that it takes, nearly.
    """

    id: str
    session: str = ""
    cell: str = ""
    told: int = 0
    code: str | None = None
    count: int | None = None
    running: bool = False
    over: bool = False
    whole: bool = True
    cut: bool = False
    sequence: int = 0
    size: int = _FRAME
    _outputs: list[_Output] = field(default_factory=list)
    _displays: dict[str, list[_Output]] = field(default_factory=dict)
    _clear_next: bool = False

    @property
    def outputs(self) -> list[dict[str, Any]]:
        """Its outputs; the last of them says so where outputs are missing."""
        found = [each.read() for each in self._outputs]
        if self.cut:
            found.append({"output_type": "stream", "name": "stderr", "text": _CUT})
        return found

    def begin(self, code: str, count: int | None) -> None:
        """Note what is run, under which number."""
        self.size += len(code)
        self.code, self.count = code, count

    def clear(self, *, wait: bool) -> None:
        """Drop the outputs, with ``wait`` not before the next one comes."""
        if wait:
            self._clear_next = True
            return
        self.size -= sum(each.size for each in self._outputs)
        self._outputs.clear()
        self._displays.clear()
        self._clear_next = self.cut = False

    def add(self, kind: str, content: Mapping[str, Any], most: int) -> None:
        """Take in the content of an output message, unless more than ``most`` bytes result."""
        if self._clear_next:
            self.clear(wait=False)
        size = _size(content)
        if self.cut or self.size + size > most:
            self.cut = True
            return
        if kind == "stream":
            self._add_text(content.get("name", "stdout"), str(content.get("text", "")), size)
            return
        made = _Output(_value(kind, content), size)
        self._append(made)
        if kind == "display_data" and (display := display_of(content)):
            self._displays.setdefault(display, []).append(made)

    def update(self, display: str, content: Mapping[str, Any]) -> bool:
        """Put this into the place of what was displayed under that id; whether any was."""
        found = self._displays.get(display, [])
        for each in found:
            self.size -= each.size
            each.value, each.size = _value("display_data", content), _size(content)
            self.size += each.size
        return bool(found)

    def _add_text(self, name: str, text: str, size: int) -> None:
        last = self._outputs[-1] if self._outputs else None
        if last is None or not last.pieces or last.value["name"] != name:
            value = {"output_type": "stream", "name": name}
            self._append(_Output(value, size, [text]))
            return
        last.pieces.append(text)
        last.size += len(text)
        self.size += len(text)

    def _append(self, output: _Output) -> None:
        self._outputs.append(output)
        self.size += output.size


def display_of(content: Mapping[str, Any]) -> str:
    """The id under which an output can be replaced later; empty without one."""
    return str((content.get("transient") or {}).get("display_id") or "")


def _value(kind: str, content: Mapping[str, Any]) -> dict[str, Any]:
    value: dict[str, Any] = {"output_type": kind}
    if kind == "error":
        for name, empty in (("ename", ""), ("evalue", ""), ("traceback", [])):
            value[name] = content.get(name, empty)
        return value
    value["data"] = content.get("data") or {}
    value["metadata"] = content.get("metadata") or {}
    if kind == "execute_result":
        value["execution_count"] = content.get("execution_count")
    return value


def _size(value: object) -> int:
    """Nearly the bytes of a JSON value."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Mapping):
        return _FRAME + sum(len(str(key)) + _size(each) for key, each in value.items())
    if isinstance(value, list):
        return 8 * len(value) + sum(map(_size, value))
    return 8
