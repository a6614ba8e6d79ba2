"""What is done with a notebook while an answer is brought back does not stop the answer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import nbformat
import pytest
from playwright.sync_api import Response

from tests.lab.browser.streams import WORDS, Gate, texts, wait_for_word, wait_until_whole, whole
from tests.support.browser import Lab, LabNotebook

# Words before the page is loaded again, and those that come while nothing else is done.
_FIRST, _THEN = 50, 60


@contextmanager
def _recalled(lab: Lab, name: str) -> Iterator[tuple[LabNotebook, Gate]]:
    """A notebook to whose first cell an answer is brought back that has not ended."""
    gate = Gate(lab, name)
    with lab.notebook(name, gate.code, "'below'") as book:
        book.run(0)
        gate.open(_FIRST)
        wait_for_word(book, _FIRST - 1)
        book.reload()
        wait_for_word(book, _FIRST - 1)
        gate.open(_THEN)
        wait_for_word(book, _THEN - 1)
        yield book, gate


def _wait_for_path(book: LabNotebook, path: str) -> None:
    book.page.wait_for_function(
        """path => { const panel = window.jupyterapp.shell.currentWidget;
          return panel?.context?.path === path && panel.sessionContext.session?.path === path; }""",
        arg=path,
    )


def _rename(book: LabNotebook, name: str) -> None:
    book.page.evaluate(
        """async name => {
          const { contents } = window.jupyterapp.serviceManager;
          await contents.rename(`${name}.ipynb`, `${name}-later.ipynb`);
        }""",
        name,
    )


def test_the_notebook_gets_another_name(opened: Lab) -> None:
    with _recalled(opened, "sooner") as (book, gate):
        _rename(book, "sooner")
        _wait_for_path(book, "sooner-later.ipynb")
        gate.open(120)
        wait_for_word(book, 119)
        gate.open()
        wait_until_whole(book)
        book.page.evaluate("window.jupyterapp.shell.currentWidget.context.save()")
        file = nbformat.read(opened.root / "sooner-later.ipynb", as_version=4)
        assert texts(file.cells[0].outputs) == whole(1)
        book.open(book.page.url.replace("sooner.ipynb", "sooner-later.ipynb"))
        book.wait_until_ready()
        wait_until_whole(book)


def test_another_page_renames_the_notebook(opened: Lab) -> None:
    with _recalled(opened, "elsewhere") as (book, gate):
        other = LabNotebook(opened, book.page.context.new_page(), "elsewhere")
        other.open(book.page.url.replace("/lab/tree/", "/lab/workspaces/other/tree/"))
        _wait_for_path(other, "elsewhere.ipynb")
        _rename(other, "elsewhere")
        _wait_for_path(book, "elsewhere-later.ipynb")
        gate.open()
        wait_until_whole(book)


@pytest.mark.parametrize("ended", [False, True], ids=["while it runs", "after its end"])
def test_the_cell_is_deleted_and_comes_back(opened: Lab, ended: bool) -> None:
    with _recalled(opened, f"undone-{ended}") as (book, gate):
        command = "name => window.jupyterapp.commands.execute(`notebook:${name}`)"
        book.page.evaluate("window.jupyterapp.shell.currentWidget.content.activeCellIndex = 0;")
        book.page.evaluate(command, "delete-cell")
        assert book.page.locator(".jp-CodeCell").count() == 1
        with book.page.expect_response(lambda answer: _tells(answer, ended=ended)):
            gate.open(WORDS if ended else 100)
        book.page.evaluate(command, "undo-cell-action")
        if not ended:
            wait_for_word(book, 99)
            gate.open()
        wait_until_whole(book)


def _tells(answer: Response, *, ended: bool) -> bool:
    """Whether a page is told what a cell has put out, or its end."""
    return "/llmspell/api/streams/" in answer.url and any(
        not ended or each["state"] == "over" for each in answer.json().get("executions", ())
    )
