"""Notebooks and cells to begin with: each runs as it is, with the model that comes along."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.lab.browser.cells import text, theme
from tests.support.browser import Lab, LabNotebook

LOAD = "%load_ext llmspell_jupyter"
#: In how many seconds, or more, a model has answered on a busy machine.
ANSWER_MS = 60_000


def execute(book: LabNotebook, command: str) -> None:
    book.page.evaluate("command => window.jupyterapp.commands.execute(command)", command)


def close_current(book: LabNotebook) -> None:
    """Close the notebook in front and end its kernel."""
    book.page.evaluate(
        """async () => {
          const panel = window.jupyterapp.shell.currentWidget;
          await panel.sessionContext.shutdown();
          panel.close();
        }"""
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("agent", "finish_reason: "),
        ("tool", "result: "),
        ("models", "smollm2:135m"),
        ("stream", ""),
    ],
)
def test_snippet_runs_as_it_is(opened: Lab, name: str, expected: str) -> None:
    with opened.notebook(f"snippet-{name}", "") as book:
        execute(book, f"llmspell:insert-{name}")
        assert text(book, 0) == LOAD
        assert text(book, 1).startswith("%%lua\n")
        book.page.set_default_timeout(ANSWER_MS)
        book.wait_for_end(0)
        assert book.outputs(0) == []
        book.run_to_end(1)
        outputs = book.outputs(1)
        assert outputs
        assert "error" not in [each["output_type"] for each in outputs], outputs
        expect(book.cell(1).locator(".jp-OutputArea")).to_contain_text(expected)
        book.picture(f"snippet-{name}")


def test_snippets_stand_below_the_active_cell(opened: Lab) -> None:
    with opened.notebook("snippet-place", LOAD, "a = 1", "b = 2") as book:
        book.page.evaluate("window.jupyterapp.shell.currentWidget.content.activeCellIndex = 1")
        execute(book, "llmspell:insert-models")
        assert [text(book, number).partition("\n")[0] for number in range(4)] == [
            LOAD,
            "a = 1",
            "%%lua",
            "b = 2",
        ]


def test_snippets_are_in_the_palette(opened: Lab) -> None:
    with opened.notebook("palette", LOAD) as book:
        book.page.keyboard.press("Control+Shift+c")
        book.page.keyboard.type("Insert Lua cell")
        found = book.page.locator(".lm-CommandPalette-item", has_text="Insert Lua cell: ")
        expect(found).to_have_count(4)
        book.picture("palette-light")
        found.first.click()
        expect(book.cell(1)).to_be_visible()
        assert text(book, 1).startswith("%%lua\n")


def test_launcher_makes_a_notebook_that_runs(opened: Lab) -> None:
    with opened.notebook("launching", "1") as book:
        execute(book, "launcher:create")
        card = book.page.get_by_role("button", name="LLMSpell notebook")
        expect(card).to_be_visible()
        book.picture("launcher-light")
        theme(book, "Dark")
        book.picture("launcher-dark")
        theme(book, "Light")
        # The card closes its launcher, and what is current afterwards is the new notebook.
        card.click()
        book.wait_until_ready()
        assert text(book, 0) == f"{LOAD}\n%llmspell_profile"
        book.page.set_default_timeout(ANSWER_MS)
        book.run_to_end(0)
        book.run_to_end(1)
        book.picture("launched-light")
        outputs = book.outputs(1)
        said = [each["text"] for each in outputs if each["output_type"] == "stream"]
        assert len("".join(said)) > 20, outputs
        book.save()
        close_current(book)
        assert book.requests == []
