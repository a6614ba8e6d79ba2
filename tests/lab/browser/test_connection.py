"""What is lost on the way from the kernel to the page is in the cell without a reload."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.lab.browser.streams import (
    TEXT,
    Gate,
    stream,
    texts,
    wait_for_prompt,
    wait_for_word,
    wait_until_whole,
    whole,
)
from tests.support.browser import Lab, LabNotebook

# Neither the browser's nor the server's wish to end it: pages connect again.
_ABNORMAL = 3001


class Wire:
    """A page's connection to its kernel, which can be broken as networks break it.

    Args:
        book: A notebook; it is reloaded, and what it connects from then on can be broken.
    """

    def __init__(self, book: LabNotebook):
        self._page = book.page
        self._lost: list[bytes] | None = None
        self._ends: list[Any] = []
        self._page.route_web_socket("**/api/kernels/*/channels?*", self._connect)
        book.reload()
        book.wait_until_ready()

    def _connect(self, end: Any) -> None:
        server = end.connect_to_server()
        server.on_message(lambda message: self._pass(end, message))
        self._ends = [end, server]

    def _pass(self, end: Any, message: str | bytes) -> None:
        if self._lost is None:
            end.send(message)
        else:
            self._lost.append(message.encode() if isinstance(message, str) else message)

    def lose(self) -> None:
        """Deliver nothing to the page any longer, as with a broken cable: nobody notices yet."""
        self._lost = []

    def wait_until_lost(self, text: str) -> None:
        """Wait until the kernel has said this to nobody."""
        while not any(text.encode() in each for each in self._lost or ()):
            self._page.wait_for_timeout(10)

    def drop(self) -> None:
        """Let both ends notice; what they connect next delivers again."""
        self._lost = None
        for each in self._ends:
            each.close(code=_ABNORMAL)


def _wait_for_whole(book: LabNotebook, count: int = 1) -> None:
    wait_for_prompt(book, f"[{count}]:")
    book.page.wait_for_function(
        """text => window.jupyterapp.shell.currentWidget.content.widgets[0].model.outputs.toJSON()
             .some(each => each.text === text)""",
        arg=TEXT,
    )
    assert texts(book.outputs(0)) == whole(count)


@pytest.mark.parametrize("busy", [False, True], ids=["then idle", "then at work"])
def test_words_that_are_lost_amid_an_answer(opened: Lab, busy: bool) -> None:
    name = f"hole-{busy}"
    gate, after = Gate(opened, name), Gate(opened, f"{name}-after")
    with opened.notebook(name, gate.code, after.code) as book:
        wire = Wire(book)
        book.run(0)
        if busy:
            book.run(1)
        else:
            after.open()
        gate.open(50)
        wait_for_word(book, 49)
        wire.lose()
        gate.open(150)
        wire.wait_until_lost("w149 ")
        wire.drop()
        gate.open(200)
        wait_for_word(book, 199)
        gate.open()
        _wait_for_whole(book)
        assert texts(book.save().cells[0].outputs) == whole(1)
        book.reload()
        _wait_for_whole(book)
        after.open()
        if busy:
            wait_until_whole(book, 2, 1)


def test_the_end_is_lost(opened: Lab) -> None:
    gate = Gate(opened, "endless")
    with opened.notebook("endless", gate.code) as book:
        wire = Wire(book)
        book.run(0)
        gate.open(50)
        wait_for_word(book, 49)
        wire.lose()
        gate.open()
        wire.wait_until_lost("the end")
        wire.wait_until_lost("idle")
        wire.drop()
        _wait_for_whole(book)
        assert not book.running(0)
        book.run(0)
        _wait_for_whole(book, 2)


def test_it_is_dropped_again_before_the_answer_ends(opened: Lab) -> None:
    gate = Gate(opened, "twice")
    with opened.notebook("twice", gate.code) as book:
        wire = Wire(book)
        book.run(0)
        for words in (50, 150):
            gate.open(words)
            wait_for_word(book, words - 1)
            wire.lose()
            gate.open(words + 50)
            wire.wait_until_lost(f"w{words + 49} ")
            wire.drop()
        gate.open()
        _wait_for_whole(book)


def test_a_cell_that_is_edited_while_it_runs_is_mended_too(opened: Lab) -> None:
    gate = Gate(opened, "edited")
    with opened.notebook("edited", gate.code) as book:
        wire = Wire(book)
        book.run(0)
        gate.open(50)
        wait_for_word(book, 49)
        wire.lose()
        gate.open(100)
        wire.wait_until_lost("w99 ")
        wire.drop()
        book.page.evaluate(
            "window.jupyterapp.shell.currentWidget.content.widgets[0].model.sharedModel"
            ".setSource('# Next time')"
        )
        gate.open()
        _wait_for_whole(book)


def test_a_cell_that_is_run_while_the_server_is_away(opened: Lab) -> None:
    gate = Gate(opened, "offline")
    with opened.notebook("offline", gate.code) as book:
        wire = Wire(book)
        tell = re.compile(r"/llmspell/api/streams/[^/]+/tell\b")
        book.page.route(tell, lambda route: route.abort())
        wire.lose()
        with book.page.expect_event("requestfailed"):
            book.run(0)
        gate.open(50)
        wire.wait_until_lost("w49 ")
        book.page.unroute(tell)
        wire.drop()
        gate.open(60)
        wait_for_word(book, 59)
        book.reload()
        wait_for_word(book, 49)
        gate.open()
        wait_until_whole(book)


def test_nothing_is_doubled_where_nothing_is_lost(opened: Lab) -> None:
    with opened.notebook("dropped", stream("dropped")) as book:
        wire = Wire(book)
        book.run(0)
        for word in (40, 80, 120):
            wait_for_word(book, word)
            wire.drop()
        _wait_for_whole(book)
