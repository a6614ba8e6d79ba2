"""What a cell's editor shows, and what a user does in it."""

from __future__ import annotations

from typing import Any

from tests.support.browser import LabNotebook

#: A cell that is written for a minute: greedy and without a penalty, it goes on like that.
ENDLESS = """%%lua
local agent = Agent.builder():model("smollm2"):temperature(0):max_tokens(3900)
  :sampling({repeat_penalty = 1}):build()
agent:invokeStream("Repeat a b a b a b for ever, and write nothing else.", function(chunk) end)
"""

# Whether a word of a line has the colour that the theme gives to a kind of word.
_LOOKS = """([cell, number, word, kind]) => {
  const lines = document.querySelectorAll('.jp-CodeCell')[cell].querySelectorAll('.cm-line');
  const walker = document.createTreeWalker(lines[number - 1], NodeFilter.SHOW_TEXT);
  const probe = document.body.appendChild(document.createElement('span'));
  probe.style.color = `var(--jp-mirror-editor-${kind}-color)`;
  const wanted = getComputedStyle(probe).color;
  probe.remove();
  while (walker.nextNode()) {
    if (walker.currentNode.data.split(/[^\\w%-]+/).includes(word)) {
      return getComputedStyle(walker.currentNode.parentElement).color === wanted;
    }
  }
  return false;
}"""


def line(book: LabNotebook, cell: int, number: int) -> Any:
    """A line of a cell, counted from 1, as a locator."""
    return book.cell(cell).locator(".cm-line").nth(number - 1)


def looks(book: LabNotebook, cell: int, number: int, word: str, kind: str) -> bool:
    """Whether a word of a line looks as the theme shows such things."""
    same: bool = book.page.evaluate(_LOOKS, [cell, number, word, kind])
    return same


def wait_for_look(
    book: LabNotebook, cell: int, number: int, word: str, kind: str, *, so: bool = True
) -> None:
    """Wait until it does; or, if not ``so``, until it does no longer."""
    script = _LOOKS if so else f"place => !({_LOOKS})(place)"
    book.page.wait_for_function(script, arg=[cell, number, word, kind])


def text(book: LabNotebook, cell: int) -> str:
    """A cell's source."""
    source: str = book.page.evaluate(
        """number => window.jupyterapp.shell.currentWidget.content.widgets[number]
             .model.sharedModel.getSource()""",
        cell,
    )
    return source


def press(book: LabNotebook, cell: int, number: int, *keys: str) -> None:
    """Put the cursor into a line and press keys there."""
    line(book, cell, number).click()
    for key in keys:
        book.page.keyboard.press(key)


def theme(book: LabNotebook, name: str) -> None:
    """Take ``Light`` or ``Dark``."""
    book.page.evaluate(
        "theme => window.jupyterapp.commands.execute('apputils:change-theme', {theme})",
        f"JupyterLab {name}",
    )
    light = "true" if name == "Light" else "false"
    book.page.wait_for_function(f"document.body.dataset.jpThemeLight === '{light}'")
    book.page.locator("#jupyterlab-splash").wait_for(state="detached")
