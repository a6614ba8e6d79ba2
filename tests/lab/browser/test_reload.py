"""What a cell puts out while its page is reloaded or away is there, whole, when the page is back."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.support.browser import Lab, LabNotebook
from tests.support.engines import wait_for

WORDS = 240

# Six seconds, about twice as long as a page takes to load here.
STREAM = f"""import time
from pathlib import Path
for number in range({WORDS}):
    print(f"w{{number}}", end=" ", flush=True)
    time.sleep(0.025)
Path("NAME.done").write_text("1")
"the end"
"""

TEXT = "".join(f"w{number} " for number in range(WORDS))

#: After which word the page is loaded again; -1 is at once after the cell was sent to the kernel.
MOMENTS = [-1, 0, 25, 50, 75, 100, 130, 160, 200, WORDS - 2]

_PROMPT = """number => window.jupyterapp.shell.currentWidget.content.widgets[number].node
  .querySelector('.jp-InputPrompt').innerText"""


def _stream(name: str) -> str:
    return STREAM.replace("NAME", name)


def _wait_for_word(book: LabNotebook, number: int, cell: int = 0) -> None:
    if number >= 0:
        book.page.wait_for_function(
            """([cell, word]) => JSON.stringify(window.jupyterapp.shell.currentWidget
                 .content.widgets[cell].model.outputs.toJSON()).includes(word)""",
            arg=[cell, f"w{number} "],
        )


def _prompt(book: LabNotebook, cell: int = 0) -> str:
    text: str = book.page.evaluate(_PROMPT, cell)
    return text


def _wait_for_prompt(book: LabNotebook, prompt: str, cell: int = 0) -> None:
    book.page.wait_for_function(
        f"([number, prompt]) => ({_PROMPT})(number) === prompt", arg=[cell, prompt]
    )


def _whole(count: int) -> list[dict[str, Any]]:
    return [
        {"output_type": "stream", "name": "stdout", "text": TEXT},
        {
            "output_type": "execute_result",
            "execution_count": count,
            "data": {"text/plain": "'the end'"},
            "metadata": {},
        },
    ]


def _texts(outputs: list[dict[str, Any]]) -> list[Any]:
    """Outputs without the difference between one text and the lines of it."""
    return [
        {**each, "text": "".join(each["text"])} if "text" in each else dict(each)
        for each in outputs
    ]


def _wait_until_whole(book: LabNotebook, count: int = 1, cell: int = 0) -> None:
    _wait_for_prompt(book, f"[{count}]:", cell)
    assert _texts(book.outputs(cell)) == _whole(count)
    assert not book.running(cell)


@pytest.mark.parametrize("moment", MOMENTS)
def test_reload_at_any_moment(opened: Lab, moment: int) -> None:
    name = f"reload{moment}"
    saved = moment % 2 == 0
    with opened.notebook(name, _stream(name)) as book:
        book.run(0)
        _wait_for_word(book, moment)
        if saved:
            book.save()
        book.reload()
        _wait_until_whole(book)
        file = book.save()
        assert _texts(file.cells[0].outputs) == _whole(1)
        assert file.cells[0].execution_count == 1
        book.reload()
        _wait_until_whole(book)


@pytest.mark.parametrize("saved", [False, True], ids=["unsaved", "saved"])
def test_page_is_away_until_the_end(opened: Lab, saved: bool) -> None:
    name = f"away-{saved}"
    with opened.notebook(name, _stream(name), "2") as book:
        book.run(0)
        _wait_for_word(book, 10)
        if saved:
            book.save()
        with book.away():
            wait_for((opened.root / f"{name}.done").exists)
        _wait_until_whole(book)
        assert _prompt(book, 1) == "[ ]:"


def test_reload_again_and_again(opened: Lab) -> None:
    with opened.notebook("again", _stream("again")) as book:
        book.run(0)
        for word in (5, 100):
            _wait_for_word(book, word)
            book.reload()
        assert _prompt(book) in {"[*]:", "[ ]:", "[1]:"}
        _wait_until_whole(book)


def test_cells_that_wait_come_back_too(opened: Lab) -> None:
    cells = [_stream("wait"), "print('second')", "1 / 0", "print('never')"]
    with opened.notebook("wait", *cells) as book:
        for number in range(4):
            book.run(number)
        _wait_for_word(book, 20)
        book.reload()
        _wait_for_prompt(book, "[*]:", 1)
        _wait_until_whole(book)
        _wait_for_prompt(book, "[2]:", 1)
        assert [each["text"] for each in book.outputs(1)] == ["second\n"]
        _wait_for_prompt(book, "[3]:", 2)
        assert [each["ename"] for each in book.outputs(2)] == ["ZeroDivisionError"]
        _wait_for_prompt(book, "[ ]:", 3)
        assert book.outputs(3) == []


def test_a_cell_that_is_run_again_is_left_alone(opened: Lab) -> None:
    with opened.notebook("rerun", _stream("rerun"), "print('other')") as book:
        book.run(0)
        _wait_for_word(book, 20)
        book.reload()
        _wait_for_word(book, 60)
        book.run(0)
        book.run(1)
        _wait_for_prompt(book, "[3]:", 1)
        _wait_until_whole(book, 2)
        assert [each["text"] for each in book.outputs(1)] == ["other\n"]


def test_a_cell_that_was_edited_or_cleared_is_left_alone(opened: Lab) -> None:
    with opened.notebook("touched", "print('one')", "print('two')", "print('three')") as book:
        for number in range(3):
            book.run_to_end(number)
        book.page.evaluate(
            """async () => {
              const { content, context } = window.jupyterapp.shell.currentWidget;
              content.widgets[0].model.sharedModel.setSource('print(1)');
              content.widgets[0].model.clearExecution();
              content.activeCellIndex = 1;
              await window.jupyterapp.commands.execute('notebook:clear-cell-output');
            }"""
        )
        book.save()
        book.reload()
        _wait_for_prompt(book, "[3]:", 2)
        assert [book.outputs(number) for number in range(2)] == [[], []]
        assert [_prompt(book, number) for number in range(2)] == ["[ ]:", "[ ]:"]


def test_outputs_that_change_in_place(opened: Lab) -> None:
    code = """import time
from pathlib import Path
from IPython.display import clear_output, display
print("gone")
clear_output()
handle = display({"text/plain": "0"}, raw=True, display_id=True)
for number in range(120):
    handle.update({"text/plain": str(number)}, raw=True)
    print("\\r%3d" % number, end="", flush=True)
    time.sleep(0.05)
"""
    with opened.notebook("places", code) as book:
        book.run(0)
        book.page.wait_for_function("document.body.innerText.includes('20')")
        book.reload()
        _wait_for_prompt(book, "[1]:")
        recalled = _texts(book.outputs(0))
        book.run_to_end(0)
        assert recalled == _texts(book.outputs(0))
        assert recalled[0]["data"] == {"text/plain": "119"}


def test_a_restart_ends_what_is_recalled(opened: Lab) -> None:
    with opened.notebook(
        "ended", "print('here', flush=True)\nimport time; time.sleep(600)"
    ) as book:
        book.run(0)
        book.page.wait_for_function("document.body.innerText.includes('here\\n')")
        book.reload()
        _wait_for_prompt(book, "[*]:")
        book.restart()
        _wait_for_prompt(book, "[1]:")
        assert book.outputs(0)[0]["text"] == "here\n"


LUA = """%%lua
local agent = Agent.builder():model("smollm2:135m"):temperature(0):max_tokens(150)
  :sampling({repeat_penalty = 1}):build()
local text = ""
agent:invokeStream("Tell me a long story about the sea and a boat.", function(chunk)
  io.write(chunk.text)
  text = text .. chunk.text
end)
return text
"""


@pytest.mark.parametrize("word", [0, 3], ids=["before the first word", "amid"])
def test_answer_of_a_model(opened: Lab, word: int) -> None:
    name = f"answer{word}"
    write = f"from pathlib import Path\nvalue = _\nPath('{name}.txt').write_text(value)\nlen(value)"
    with opened.notebook(name, "%load_ext llmspell_jupyter", LUA, write) as book:
        book.run_to_end(0)
        book.run(1)
        book.run(2)
        if word:
            book.page.wait_for_function(
                """() => window.jupyterapp.shell.currentWidget.content.widgets[1]
                  .model.outputs.toJSON().some(each => each.output_type === 'stream')"""
            )
        book.reload()
        _wait_for_prompt(book, "[3]:", 2)
        _wait_for_prompt(book, "[2]:", 1)
        answer = (opened.root / f"{name}.txt").read_text()
        assert len(answer) > 100
        written = [each for each in _texts(book.outputs(1)) if each["output_type"] == "stream"]
        assert "".join(each["text"] for each in written).strip() == answer.strip()
        assert book.outputs(2)[0]["data"]["text/plain"] == str(len(answer))


def test_widgets_come_back_with_the_outputs(opened: Lab) -> None:
    code = """import ipywidgets
display(ipywidgets.IntSlider(description="slides"))
with ipywidgets.Output():
    print("in a widget that is not shown")
"""
    with opened.notebook("widget", code + _stream("widget")) as book:
        book.run(0)
        _wait_for_word(book, 10)
        book.reload()
        _wait_for_prompt(book, "[1]:")
        book.page.locator(".widget-label", has_text="slides").wait_for()
        shown, *rest = _texts(book.outputs(0))
        assert "application/vnd.jupyter.widget-view+json" in shown["data"]
        assert rest == _whole(1)


def test_a_cell_that_is_moved_goes_on(opened: Lab) -> None:
    with opened.notebook("moved", "'above'", _stream("moved")) as book:
        book.run(1)
        _wait_for_word(book, 10, 1)
        book.reload()
        _wait_for_word(book, 11, 1)
        book.page.evaluate(
            "window.jupyterapp.shell.currentWidget.content.activeCellIndex = 1;"
            "window.jupyterapp.commands.execute('notebook:move-cell-up')"
        )
        _wait_until_whole(book)


def test_a_notebook_that_gets_another_name(opened: Lab) -> None:
    with opened.notebook("before", _stream("before")) as book:
        book.run(0)
        _wait_for_word(book, 10)
        book.page.evaluate(
            """async () => {
              const { contents } = window.jupyterapp.serviceManager;
              await contents.rename('before.ipynb', 'after.ipynb');
            }"""
        )
        book.page.wait_for_function(
            "() => window.jupyterapp.shell.currentWidget.context.path === 'after.ipynb'"
        )
        book.page.wait_for_url("**/after.ipynb*")
        book.reload()
        _wait_until_whole(book)


@pytest.mark.stress
@pytest.mark.timeout(300)
def test_reload_at_many_moments(opened: Lab) -> None:
    chance = random.Random(7)
    with opened.notebook("often", _stream("often")) as book:
        for count in range(1, 11):
            book.wait_until_ready()
            book.run(0)
            book.page.wait_for_timeout(chance.uniform(0, 7000))
            if chance.random() < 0.5:
                book.save()
            book.reload()
            _wait_until_whole(book, count)


def test_a_tab_that_is_closed_and_opened_again(opened: Lab) -> None:
    with opened.notebook("tab", _stream("tab")) as book:
        book.run(0)
        _wait_for_word(book, 20)
        book.page.evaluate(
            """async () => {
              const { shell, commands } = window.jupyterapp;
              await shell.currentWidget.context.save();
              shell.currentWidget.dispose();
              await commands.execute('docmanager:open', { path: 'tab.ipynb' });
              await shell.currentWidget.context.ready;
            }"""
        )
        _wait_until_whole(book)
