"""Where pages share a document, an answer is brought back without getting in another's way.

The pages here say that they share it; what a shared document would bring them is put in by hand.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.lab.browser.streams import Gate, texts, wait_for_word, wait_until_whole, whole
from tests.support.browser import Lab, LabNotebook

_REOPEN = """async () => {
  const { shell, commands } = window.jupyterapp;
  const panel = shell.currentWidget;
  const { path, model } = panel.context;
  Object.defineProperty(Object.getPrototypeOf(model), 'collaborative', { get: () => true });
  await panel.context.save();
  panel.dispose();
  const opened = await commands.execute('docmanager:open', { path });
  await opened.context.ready;
}"""

# As a second page does that looks at the notebook.
_CONNECT = """async () => {
  const { kernels } = window.jupyterapp.serviceManager;
  const { id, name } = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
  window.other = kernels.connectTo({ model: { id, name } });
}"""

_ADD = """text => window.jupyterapp.shell.currentWidget.content.widgets[0].model.outputs
  .add({ output_type: 'stream', name: 'stdout', text })"""


@contextmanager
def _reopened(lab: Lab, name: str, *, alone: bool) -> Iterator[tuple[LabNotebook, Gate]]:
    """A shared notebook that is opened anew while its cell runs."""
    gate = Gate(lab, name)
    with lab.notebook(name, gate.code) as book:
        book.run(0)
        gate.open(50)
        wait_for_word(book, 49)
        if not alone:
            book.page.evaluate(_CONNECT)
            book.page.wait_for_function("window.other.connectionStatus === 'connected'")
        with book.page.expect_response("**/llmspell/api/streams/*?*after=*"):
            book.page.evaluate(_REOPEN)
            gate.open(60)
        yield book, gate


def test_who_is_alone_sees_it_grow(opened: Lab) -> None:
    with _reopened(opened, "alone", alone=True) as (book, gate):
        gate.open(100)
        wait_for_word(book, 99)
        gate.open()
        wait_until_whole(book)


def test_what_another_page_shows_is_left_to_it_until_the_end(opened: Lab) -> None:
    with _reopened(opened, "pair", alone=False) as (book, gate):
        shown = "".join(f"w{number} " for number in range(50, 60))
        book.page.evaluate(_ADD, shown)
        before = book.outputs(0)
        with book.page.expect_response("**/llmspell/api/streams/*?*after=*"):
            gate.open(100)
        assert book.outputs(0) == before
        gate.open()
        wait_for_word(book, 239)
        assert texts(book.outputs(0)) == whole(1)


def test_what_came_twice_is_there_once_in_the_end(opened: Lab) -> None:
    with _reopened(opened, "doubled", alone=True) as (book, gate):
        wait_for_word(book, 59)
        book.page.evaluate(_ADD, "w59 ")
        gate.open()
        wait_until_whole(book)
