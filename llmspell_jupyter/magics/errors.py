"""How errors look in a cell: what is wrong, where, and what to type next; no traceback.

IPython shows an exception by its method ``_render_traceback_`` if it has one. Errors get theirs
here, when they leave a magic, so that Python code that calls this package still sees tracebacks.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from llmspell_jupyter.config.escaping import printable_lines
from llmspell_jupyter.errors import LLMSpellError

_NEIGHBOURS = 1
_MOST_SOURCES = 200
_LONGEST_TEXT = 20_000
_LONGEST_LINE = 500


class Sources:
    """The Lua cells that ran, by chunk name, to show the lines that an error names."""

    def __init__(self) -> None:
        self._lines: OrderedDict[str, list[str]] = OrderedDict()

    def add(self, chunk: str, text: str) -> None:
        """Remember a cell as the user sees it, magic line included."""
        self._lines[chunk] = text.splitlines()
        self._lines.move_to_end(chunk)
        while len(self._lines) > _MOST_SOURCES:
            self._lines.popitem(last=False)

    def around(self, chunk: str, line: int) -> Iterator[str]:
        """The line and its neighbours, numbered, the line itself marked."""
        lines = self._lines.get(chunk, [])
        for number in range(max(1, line - _NEIGHBOURS), min(len(lines), line + _NEIGHBOURS) + 1):
            mark = "→" if number == line else " "
            yield f"{mark} {number:>3} │ {lines[number - 1]}"


@contextmanager
def shown_plainly(sources: Sources | None = None) -> Iterator[None]:
    """Let errors of this package leave the block as one message without traceback."""
    try:
        yield
    except LLMSpellError as error:
        lines = list(_lines(error, sources))
        error._render_traceback_ = lambda: lines  # type: ignore[attr-defined]
        raise error from None


def _lines(error: LLMSpellError, sources: Sources | None) -> Iterator[str]:
    chunk, line = error.data.get("chunk"), error.data.get("line")
    where = f"{chunk}, line {line}: " if chunk and line else ""
    # What a model, a server or a script says is in here, too.
    yield printable_lines(f"{type(error).__name__}: {where}{error.message}", _LONGEST_TEXT)
    if sources is not None and chunk and line:
        for each in sources.around(chunk, line):
            yield printable_lines(each, _LONGEST_LINE)
    if error.hint:
        yield printable_lines(error.hint, _LONGEST_TEXT)
