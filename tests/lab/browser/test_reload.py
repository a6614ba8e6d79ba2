"""What a cell puts out while its page is reloaded or away is there, whole, when the page is back."""

from __future__ import annotations

import random

import pytest

from tests.lab.browser.streams import (
    WORDS,
    prompt,
    stream,
    texts,
    wait_for_prompt,
    wait_for_word,
    wait_until_whole,
    whole,
)
from tests.support.browser import Lab
from tests.support.engines import wait_for

#: After which word the page is loaded again; -1 is at once after the cell was sent to the kernel.
MOMENTS = [-1, 0, 25, 50, 75, 100, 130, 160, 200, WORDS - 2]


@pytest.mark.parametrize("moment", MOMENTS)
def test_reload_at_any_moment(opened: Lab, moment: int) -> None:
    name = f"reload{moment}"
    saved = moment % 2 == 0
    with opened.notebook(name, stream(name)) as book:
        book.run(0)
        wait_for_word(book, moment)
        if saved:
            book.save()
        book.reload()
        wait_until_whole(book)
        file = book.save()
        assert texts(file.cells[0].outputs) == whole(1)
        assert file.cells[0].execution_count == 1
        book.reload()
        wait_until_whole(book)


@pytest.mark.parametrize("saved", [False, True], ids=["unsaved", "saved"])
def test_page_is_away_until_the_end(opened: Lab, saved: bool) -> None:
    name = f"away-{saved}"
    with opened.notebook(name, stream(name), "2") as book:
        book.run(0)
        wait_for_word(book, 10)
        if saved:
            book.save()
        with book.away():
            wait_for((opened.root / f"{name}.done").exists)
        wait_until_whole(book)
        assert prompt(book, 1) == "[ ]:"


def test_reload_again_and_again(opened: Lab) -> None:
    with opened.notebook("again", stream("again")) as book:
        book.run(0)
        for word in (5, 100):
            wait_for_word(book, word)
            book.reload()
        assert prompt(book) in {"[*]:", "[ ]:", "[1]:"}
        wait_until_whole(book)


def test_cells_that_wait_come_back_too(opened: Lab) -> None:
    cells = [stream("wait"), "print('second')", "1 / 0", "print('never')"]
    with opened.notebook("wait", *cells) as book:
        for number in range(4):
            book.run(number)
        wait_for_word(book, 20)
        book.reload()
        wait_for_prompt(book, "[*]:", 1)
        wait_until_whole(book)
        wait_for_prompt(book, "[2]:", 1)
        assert [each["text"] for each in book.outputs(1)] == ["second\n"]
        wait_for_prompt(book, "[3]:", 2)
        assert [each["ename"] for each in book.outputs(2)] == ["ZeroDivisionError"]
        wait_for_prompt(book, "[ ]:", 3)
        assert book.outputs(3) == []


def test_a_cell_that_is_run_again_is_left_alone(opened: Lab) -> None:
    with opened.notebook("rerun", stream("rerun"), "print('other')") as book:
        book.run(0)
        wait_for_word(book, 20)
        book.reload()
        wait_for_word(book, 60)
        book.run(0)
        book.run(1)
        wait_for_prompt(book, "[3]:", 1)
        wait_until_whole(book, 2)
        assert [each["text"] for each in book.outputs(1)] == ["other\n"]


@pytest.mark.parametrize("minor", [5, 4])
def test_a_cell_that_was_edited_or_cleared_is_left_alone(opened: Lab, minor: int) -> None:
    cells = ("print('one')", "print('two')", "print('three')")
    with opened.notebook(f"touched{minor}", *cells, minor=minor) as book:
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
        wait_for_prompt(book, "[3]:", 2)
        assert [book.outputs(number) for number in range(2)] == [[], []]
        assert [prompt(book, number) for number in range(2)] == ["[ ]:", "[ ]:"]


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
        wait_for_prompt(book, "[1]:")
        recalled = texts(book.outputs(0))
        book.run_to_end(0)
        assert recalled == texts(book.outputs(0))
        assert recalled[0]["data"] == {"text/plain": "119"}


def test_a_restart_ends_what_is_recalled(opened: Lab) -> None:
    with opened.notebook(
        "ended", "print('here', flush=True)\nimport time; time.sleep(600)"
    ) as book:
        book.run(0)
        book.page.wait_for_function("document.body.innerText.includes('here\\n')")
        book.reload()
        wait_for_prompt(book, "[*]:")
        book.restart()
        wait_for_prompt(book, "[1]:")
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
        wait_for_prompt(book, "[3]:", 2)
        wait_for_prompt(book, "[2]:", 1)
        answer = (opened.root / f"{name}.txt").read_text()
        assert len(answer) > 100
        written = [each for each in texts(book.outputs(1)) if each["output_type"] == "stream"]
        assert "".join(each["text"] for each in written).strip() == answer.strip()
        assert book.outputs(2)[0]["data"]["text/plain"] == str(len(answer))


def test_widgets_come_back_with_the_outputs(opened: Lab) -> None:
    code = """import ipywidgets
display(ipywidgets.IntSlider(description="slides"))
with ipywidgets.Output():
    print("in a widget that is not shown")
"""
    with opened.notebook("widget", code + stream("widget")) as book:
        book.run(0)
        wait_for_word(book, 10)
        book.reload()
        wait_for_prompt(book, "[1]:")
        book.page.locator(".widget-label", has_text="slides").wait_for()
        shown, *rest = texts(book.outputs(0))
        assert "application/vnd.jupyter.widget-view+json" in shown["data"]
        assert rest == whole(1)


def test_a_cell_that_is_moved_goes_on(opened: Lab) -> None:
    with opened.notebook("moved", "'above'", stream("moved")) as book:
        book.run(1)
        wait_for_word(book, 10, 1)
        book.reload()
        wait_for_word(book, 11, 1)
        book.page.evaluate(
            "window.jupyterapp.shell.currentWidget.content.activeCellIndex = 1;"
            "window.jupyterapp.commands.execute('notebook:move-cell-up')"
        )
        wait_until_whole(book)


def test_a_notebook_that_gets_another_name(opened: Lab) -> None:
    with opened.notebook("before", stream("before")) as book:
        book.run(0)
        wait_for_word(book, 10)
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
        wait_until_whole(book)


@pytest.mark.stress
@pytest.mark.timeout(300)
def test_reload_at_many_moments(opened: Lab) -> None:
    chance = random.Random(7)
    with opened.notebook("often", stream("often")) as book:
        for count in range(1, 11):
            book.wait_until_ready()
            book.run(0)
            book.page.wait_for_timeout(chance.uniform(0, 7000))
            if chance.random() < 0.5:
                book.save()
            book.reload()
            wait_until_whole(book, count)


def test_a_tab_that_is_closed_and_opened_again(opened: Lab) -> None:
    with opened.notebook("tab", stream("tab")) as book:
        book.run(0)
        wait_for_word(book, 20)
        book.page.evaluate(
            """async () => {
              const { shell, commands } = window.jupyterapp;
              await shell.currentWidget.context.save();
              shell.currentWidget.dispose();
              await commands.execute('docmanager:open', { path: 'tab.ipynb' });
              await shell.currentWidget.context.ready;
            }"""
        )
        wait_until_whole(book)


@pytest.mark.parametrize("minor", [5, 4])
def test_what_is_cleared_after_a_restart_does_not_come_back(opened: Lab, minor: int) -> None:
    with opened.notebook(f"fresh{minor}", "print('one')", "print('two')", minor=minor) as book:
        book.run_to_end(0)
        book.reload()
        wait_for_prompt(book, "[1]:")
        book.run_to_end(1)
        book.page.evaluate(
            "() => { window.jupyterapp.commands.execute('notebook:restart-clear-output'); }"
        )
        book.page.locator(".jp-Dialog .jp-mod-accept").click()
        for cell in range(2):
            wait_for_prompt(book, "[ ]:", cell)
        book.wait_until_ready()
        book.save()
        with book.page.expect_response("**/llmspell/api/streams/*?*session=*"):
            book.reload()
        book.run_to_end(1)
        assert [prompt(book, cell) for cell in range(2)] == ["[ ]:", "[1]:"]
        assert book.outputs(0) == []
