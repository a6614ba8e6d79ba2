"""Cells that put out words for a while, and whether a page shows all of these, each once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.browser import Lab, LabNotebook

WORDS = 240

# Six seconds, about twice as long as a page takes to load here.
_STREAM = f"""import time
from pathlib import Path
for number in range({WORDS}):
    print(f"w{{number}}", end=" ", flush=True)
    time.sleep(0.025)
Path("NAME.done").write_text("1")
"the end"
"""

_GATED = f"""import time
from pathlib import Path
allowed = Path("NAME.allowed")
for number in range({WORDS}):
    while number >= int(allowed.read_text()):
        time.sleep(0.005)
    print(f"w{{number}}", end=" ", flush=True)
"the end"
"""

TEXT = "".join(f"w{number} " for number in range(WORDS))

_PROMPT = """number => window.jupyterapp.shell.currentWidget.content.widgets[number].node
  .querySelector('.jp-InputPrompt').innerText"""


def stream(name: str) -> str:
    """Code that puts out the words, and writes ``{name}.done`` at the end."""
    return _STREAM.replace("NAME", name)


class Gate:
    """Code that puts out no word before the test lets it.

    Args:
        lab: Where the notebook is.
        name: Of the file by which they agree, without the ending.

    Attributes:
        code: What to put into a cell.
    """

    def __init__(self, lab: Lab, name: str):
        self.code = _GATED.replace("NAME", name)
        self._file = Path(lab.root, f"{name}.allowed")
        self.open(0)

    def open(self, words: int = WORDS) -> None:
        """Let out so many words in all."""
        made = self._file.with_suffix(".next")
        made.write_text(str(words))
        made.replace(self._file)


def wait_for_word(book: LabNotebook, number: int, cell: int = 0) -> None:
    """Wait until a cell shows this word; -1 is none."""
    if number >= 0:
        book.page.wait_for_function(
            """([cell, word]) => JSON.stringify(window.jupyterapp.shell.currentWidget
                 .content.widgets[cell].model.outputs.toJSON()).includes(word)""",
            arg=[cell, f"w{number} "],
        )


def prompt(book: LabNotebook, cell: int = 0) -> str:
    """What stands in front of a cell."""
    text: str = book.page.evaluate(_PROMPT, cell)
    return text


def wait_for_prompt(book: LabNotebook, wanted: str, cell: int = 0) -> None:
    """Wait until this stands in front of a cell."""
    book.page.wait_for_function(
        f"([number, prompt]) => ({_PROMPT})(number) === prompt", arg=[cell, wanted]
    )


def whole(count: int) -> list[dict[str, Any]]:
    """The outputs of a cell that put out all of the words, under this number."""
    return [
        {"output_type": "stream", "name": "stdout", "text": TEXT},
        {
            "output_type": "execute_result",
            "execution_count": count,
            "data": {"text/plain": "'the end'"},
            "metadata": {},
        },
    ]


def texts(outputs: list[dict[str, Any]]) -> list[Any]:
    """Outputs without the difference between one text and the lines of it."""
    return [
        {**each, "text": "".join(each["text"])} if "text" in each else dict(each)
        for each in outputs
    ]


def wait_until_whole(book: LabNotebook, count: int = 1, cell: int = 0) -> None:
    """Wait for a cell's end; it shows all of the words then, each once."""
    wait_for_prompt(book, f"[{count}]:", cell)
    assert texts(book.outputs(cell)) == whole(count)
    assert not book.running(cell)
