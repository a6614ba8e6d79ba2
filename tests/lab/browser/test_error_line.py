"""The line at which a Lua cell failed is underlined until the cell is edited or runs again."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import expect

from tests.lab.browser.cells import press, theme
from tests.support.browser import Lab, LabNotebook

LOAD = "%load_ext llmspell_jupyter"
WRONG = "%%lua\nlocal x = 1\n  print(foo.bar)\nlocal y = 2"
LABEL = "Line 3 failed: attempt to index a nil value (global 'foo')"


def marks(book: LabNotebook, cell: int) -> Any:
    return book.cell(cell).locator(".llmspell-errorLine")


def test_failed_line_is_underlined_until_edited(opened: Lab) -> None:
    with opened.notebook("failed", LOAD, WRONG, "1 / 0") as book:
        book.run_to_end(0)
        book.run_to_end(1)
        expect(marks(book, 1)).to_have_text("print(foo.bar)")
        assert marks(book, 1).get_attribute("title") == LABEL
        assert marks(book, 1).get_attribute("aria-description") == LABEL
        book.picture("error-line-light")
        theme(book, "Dark")
        book.picture("error-line-dark")
        theme(book, "Light")
        press(book, 1, 2, "End", "x")
        expect(marks(book, 1)).to_have_count(0)
        press(book, 1, 2, "End", "Backspace")
        book.run_to_end(1)
        expect(marks(book, 1)).to_have_count(1)
        book.run_to_end(2)
        expect(marks(book, 2)).to_have_count(0)


def test_line_is_underlined_when_the_notebook_is_opened(opened: Lab) -> None:
    with opened.notebook("saved", LOAD, WRONG) as book:
        book.run_to_end(0)
        book.run_to_end(1)
        book.save()
        book.reload()
        expect(marks(book, 1)).to_have_text("print(foo.bar)")
        # Of a cell that was edited since, no line is known.
        press(book, 1, 2, "Home", "Enter")
        book.save()
        book.reload()
        expect(book.cell(1).locator(".jp-OutputArea-output")).to_be_visible()
        expect(marks(book, 1)).to_have_count(0)


def test_blank_lines_above_do_not_count(opened: Lab) -> None:
    with opened.notebook("blank-failed", LOAD, f"\n\n{WRONG}") as book:
        book.run_to_end(0)
        book.run_to_end(1)
        expect(marks(book, 1)).to_have_text("print(foo.bar)")


def test_mark_goes_when_the_cell_runs_well(opened: Lab) -> None:
    with opened.notebook("again", LOAD, "%%lua\nprint(foo.bar)", "%lua foo = {bar = 1}") as book:
        book.run_to_end(0)
        book.run_to_end(1)
        expect(marks(book, 1)).to_have_count(1)
        book.run_to_end(2)
        book.run(1)
        expect(marks(book, 1)).to_have_count(0)
        expect(book.cell(1).locator(".jp-OutputArea-output")).to_have_text("1\n")


def test_error_of_another_cell_marks_nothing(opened: Lab) -> None:
    defines = "%%lua\nfunction f()\n  error('no')\nend"
    with opened.notebook("other", LOAD, defines, "%%lua\n\nf()") as book:
        for number in range(3):
            book.run_to_end(number)
        expect(book.cell(2).locator(".jp-OutputArea-output")).to_contain_text("no")
        expect(marks(book, 1)).to_have_count(0)
        expect(marks(book, 2)).to_have_count(0)
