"""Notebooks before format 4.5, whose cells have no ids in the file, get their answers back too."""

from __future__ import annotations

from tests.lab.browser.streams import (
    Gate,
    prompt,
    texts,
    wait_for_prompt,
    wait_for_word,
    wait_until_whole,
    whole,
)
from tests.support.browser import Lab

OLD = 4


def test_reload_while_a_cell_runs(opened: Lab) -> None:
    gate = Gate(opened, "old")
    with opened.notebook("old", "'above'", gate.code, "'below'", minor=OLD) as book:
        book.run(1)
        gate.open(50)
        wait_for_word(book, 49, 1)
        book.reload()
        wait_for_word(book, 49, 1)
        assert prompt(book, 1) == "[*]:"
        gate.open(100)
        wait_for_word(book, 99, 1)
        book.reload()
        wait_for_word(book, 99, 1)
        gate.open()
        wait_until_whole(book, 1, 1)
        file = book.save()
        assert file.nbformat_minor == OLD
        assert texts(file.cells[1].outputs) == whole(1)
        book.reload()
        wait_until_whole(book, 1, 1)
        assert book.outputs(0) == book.outputs(2) == []


def test_cells_that_wait_come_back_once_they_begin(opened: Lab) -> None:
    gate = Gate(opened, "old-wait")
    with opened.notebook("old-wait", gate.code, "'second'", minor=OLD) as book:
        book.run(0)
        book.run(1)
        gate.open(50)
        wait_for_word(book, 49)
        book.reload()
        wait_for_word(book, 49)
        gate.open()
        wait_until_whole(book)
        wait_for_prompt(book, "[2]:", 1)


def test_a_cell_that_is_moved_goes_on(opened: Lab) -> None:
    gate = Gate(opened, "old-moved")
    with opened.notebook("old-moved", "'above'", gate.code, minor=OLD) as book:
        book.run(1)
        gate.open(50)
        wait_for_word(book, 49, 1)
        book.reload()
        wait_for_word(book, 49, 1)
        book.page.evaluate(
            """async () => {
              const { content } = window.jupyterapp.shell.currentWidget;
              content.activeCellIndex = 1;
              await window.jupyterapp.commands.execute('notebook:move-cell-up');
              content.widgets[0].model.sharedModel.setSource('# Next time');
            }"""
        )
        gate.open()
        wait_until_whole(book)


def test_what_is_run_later_is_not_replaced(opened: Lab) -> None:
    gate = Gate(opened, "old-again")
    with opened.notebook("old-again", gate.code, minor=OLD) as book:
        book.run(0)
        gate.open(50)
        wait_for_word(book, 49)
        book.reload()
        wait_for_word(book, 49)
        gate.open()
        book.run(0)
        wait_until_whole(book, 2)
        book.save()
        book.reload()
        book.wait_until_ready()
        wait_until_whole(book, 2)


def test_cells_that_look_the_same_are_left_alone(opened: Lab) -> None:
    gate, other = Gate(opened, "old-same"), Gate(opened, "old-other")
    cells = [gate.code, gate.code, other.code]
    with opened.notebook("old-same", *cells, minor=OLD) as book:
        book.run(0)
        book.run(2)
        gate.open(50)
        wait_for_word(book, 49)
        book.reload()
        gate.open()
        other.open()
        wait_until_whole(book, 2, 2)
        assert book.outputs(0) == book.outputs(1) == []
        book.run_to_end(1)
        book.save()
        book.page.evaluate(
            """async () => {
              const { content, context } = window.jupyterapp.shell.currentWidget;
              content.activeCellIndex = 0;
              await window.jupyterapp.commands.execute('notebook:delete-cell');
              await context.save();
            }"""
        )
        book.reload()
        book.wait_until_ready()
        wait_until_whole(book, 3)
