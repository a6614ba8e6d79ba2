"""The sidebar as a user sees it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.support.browser import Lab, LabNotebook
from tests.support.engines import RunningEngine, attach

PANEL = "#llmspell-panel"

# Texts and how far they stand out from what is behind them, as WCAG counts it.
_CONTRASTS = """panel => {
  const numbers = text => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(each => each / 255)
    .map(each => each <= 0.03928 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4)
    .reduce((sum, each, i) => sum + each * [0.2126, 0.7152, 0.0722][i], 0);
  const over = (front, back, share) => front.map((each, i) => share * each + (1 - share) * back[i]);
  const found = [];
  for (const node of document.querySelectorAll(`${panel} *`)) {
    const words = [...node.childNodes].filter(each => each.nodeType === 3)
      .map(each => each.data).join('').trim();
    if (!words || node.disabled || !node.getClientRects().length) continue;
    let back = null;
    let share = 1;
    for (let at = node; at && !back; at = at.parentElement) {
      const style = getComputedStyle(at);
      const [r, g, b, alpha = 1] = numbers(style.backgroundColor);
      if (alpha > 0.5) back = [r, g, b];
      share *= Number(style.opacity);
    }
    const [r, g, b, alpha = 1] = numbers(getComputedStyle(node).color);
    const lights = [light(over([r, g, b], back, share * alpha)), light(back)];
    const ratio = (Math.max(...lights) + 0.05) / (Math.min(...lights) + 0.05);
    found.push([ratio, words]);
  }
  return found.sort((one, two) => one[0] - two[0]);
}"""


class Sidebar:
    """The open sidebar of a page.

    Attributes:
        book: The notebook beside it.
        asked: Addresses of our own that the page has asked for, below ``/llmspell/api/``.
    """

    def __init__(self, book: LabNotebook):
        self.book = book
        self.asked: list[str] = []
        book.page.on("request", lambda request: self._ask(request.url))
        self.show()

    def _ask(self, url: str) -> None:
        if found := re.search(r"/llmspell/api/([^?]*)", url):
            self.asked.append(found[1])

    @property
    def panel(self) -> Any:
        return self.book.page.locator(PANEL)

    def show(self) -> None:
        """Open it."""
        self.book.page.evaluate("window.jupyterapp.commands.execute('llmspell:open-sidebar')")
        self.panel.get_by_text("smollm2:135m").first.wait_for()

    def section(self, title: str) -> Any:
        """A part by its heading."""
        return self.panel.get_by_role("region", name=title)

    def row(self, section: str, name: str) -> Any:
        """The entry of a model, in the part of this heading."""
        name_there = self.book.page.locator(f".llmspell-name[title='{name}']")
        return self.section(section).locator("li").filter(has=name_there)

    def installed(self, name: str) -> Any:
        return self.row("On this machine", name)

    def job(self, name: str) -> Any:
        return self.row("At work", name)

    def offer(self, name: str) -> Any:
        return self.row("Catalog", name)

    def unfold(self, row: Any) -> None:
        """Show what a row holds; nothing happens when it does already."""
        fold = row.locator(".llmspell-fold")
        if fold.get_attribute("aria-expanded") == "false":
            fold.click()

    def filter(self, words: str, *, hub: bool = False) -> None:
        """Type into the catalog's field; with ``hub``, ask it."""
        field = self.panel.get_by_role("searchbox")
        field.fill(words)
        if hub:
            field.press("Enter")

    def percent(self, name: str) -> int:
        """How far a download is, as it is told to those who do not see."""
        bar = self.job(name).get_by_role("progressbar")
        bar.wait_for()
        return int(bar.get_attribute("aria-valuenow") or 0)

    def wait_for_percent(self, name: str, least: int) -> int:
        """Wait until a download has come so far."""
        self.book.page.wait_for_function(
            """([name, least]) => [...document.querySelectorAll('[role=progressbar]')].some(
                 bar => bar.getAttribute('aria-label') === `Download of ${name}`
                   && Number(bar.getAttribute('aria-valuenow')) >= least)""",
            arg=[name, least],
        )
        return self.percent(name)

    def faintest(self) -> tuple[float, str]:
        """The text that is hardest to read, and its contrast: 21 is black on white."""
        ratio, words = self.book.page.evaluate(_CONTRASTS, PANEL)[0]
        return float(ratio), str(words)

    def picture(self, name: str) -> None:
        self.book.picture(f"sidebar-{name}")


@contextmanager
def engine() -> Iterator[RunningEngine | None]:
    """The engine behind the sidebar, if there is one; looking at it keeps it no longer alive."""
    found = attach(dict(os.environ))
    try:
        yield found
    finally:
        if found:
            found.http.close()


def jobs() -> list[dict[str, Any]]:
    """What the engine behind the sidebar does."""
    with engine() as running:
        return running.jobs() if running else []


@contextmanager
def beside(lab: Lab, name: str, *cells: str) -> Iterator[Sidebar]:
    """A notebook with the sidebar beside it."""
    with lab.notebook(name, *cells) as book:
        yield Sidebar(book)
