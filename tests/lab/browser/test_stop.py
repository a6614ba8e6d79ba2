"""The engine in the status bar, and the button that stops it, also when the kernel is deaf."""

from __future__ import annotations

import os
import re

import psutil
from playwright.sync_api import expect

from tests.lab.browser.cells import ENDLESS
from tests.lab.browser.sidebar import beside, jobs
from tests.support import kernelspecs
from tests.support.browser import Lab
from tests.support.engines import PATIENCE, SMOLLM2, wait_for

LOAD = "%load_ext llmspell_jupyter\nimport os\nprint(os.getpid())"


def test_a_deaf_kernel_is_stopped_in_the_engine(opened: Lab) -> None:
    with beside(opened, "deaf", LOAD, ENDLESS) as side:
        book, page = side.book, side.book.page
        button = page.locator(".jp-NotebookPanel-toolbar").get_by_role("button", name="Stop model")
        book.run_to_end(0)
        kernel = psutil.Process(int(book.outputs(0)[0]["text"]))
        expect(button).to_be_hidden()
        book.run(1)
        bar = page.locator("#jp-main-statusbar")
        expect(bar).to_contain_text(re.compile(rf"{SMOLLM2} · [\d.]+ tokens/s"))
        job = side.job(SMOLLM2)
        expect(job).to_contain_text("answers")
        expect(job).to_contain_text("for deaf.ipynb")
        expect(button).to_be_visible()
        side.picture("answering")
        kernel.suspend()
        try:
            button.click()
            wait_for(lambda: not jobs(), PATIENCE)
            expect(button).to_be_hidden()
            expect(bar).to_contain_text("Engine: idle")
            assert book.running(1)
        finally:
            kernel.resume()
        book.wait_for_end(1)
        assert "cancelled" in str(book.outputs(1))
        side.picture("stopped")


def test_a_kernel_below_a_wrapper_is_stopped_as_well(opened: Lab) -> None:
    kernelspecs.install(os.environ, "wrapped", kernelspecs.WRAPPED)
    with beside(opened, "wrapped", LOAD, ENDLESS) as side:
        book = side.book
        book.change_kernel("wrapped")
        book.wait_until_ready()
        book.run_to_end(0)
        book.run(1)
        expect(side.job(SMOLLM2)).to_contain_text("for wrapped.ipynb")
        toolbar = book.page.locator(".jp-NotebookPanel-toolbar")
        toolbar.get_by_role("button", name="Stop model").click()
        book.wait_for_end(1)
        assert "cancelled" in str(book.outputs(1))


def test_another_notebook_is_left_alone(opened: Lab) -> None:
    with (
        beside(opened, "first", LOAD, ENDLESS) as one,
        beside(opened, "second", LOAD, ENDLESS) as two,
    ):
        for each in (one, two):
            each.book.run_to_end(0)
            each.book.run(1)
        for each in (one, two):
            expect(each.job(SMOLLM2)).to_have_count(2)
            expect(each.section("At work")).to_contain_text("for first.ipynb")
            expect(each.section("At work")).to_contain_text("for second.ipynb")
        one.picture("two-notebooks")
        one.book.page.evaluate("window.jupyterapp.commands.execute('llmspell:stop')")
        one.book.wait_for_end(1)
        (left,) = wait_for(lambda: len(found := jobs()) == 1 and found)
        expect(two.job(SMOLLM2)).to_have_count(1)
        assert two.book.running(1), left
        two.job(SMOLLM2).get_by_role("button", name=f"Stop {SMOLLM2}").click()
        two.book.wait_for_end(1)
