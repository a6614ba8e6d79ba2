"""The same extension in Notebook 7."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.lab.browser.cells import ENDLESS, looks, text, wait_for_look
from tests.lab.browser.sidebar import Sidebar
from tests.support.browser import Lab


def test_cells_sidebar_and_toolbar_are_there(opened: Lab) -> None:
    cells = ("%load_ext llmspell_jupyter", ENDLESS, "local = 1")
    with opened.notebook("seven", *cells, page="notebooks") as book:
        wait_for_look(book, 1, 2, "local", "keyword")
        assert not looks(book, 2, 1, "local", "keyword")
        side = Sidebar(book)
        expect(side.installed("smollm2:135m")).to_be_visible()
        stop = book.page.get_by_role("button", name="Stop model")
        expect(stop).to_be_hidden()
        book.run_to_end(0)
        book.run(1)
        stop.click()
        book.wait_for_end(1)
        assert "cancelled" in str(book.outputs(1))
        book.page.evaluate("window.jupyterapp.commands.execute('llmspell:insert-agent')")
        assert text(book, 2).startswith("%%lua\n")
        book.picture("notebook7")
        assert book.requests == []
