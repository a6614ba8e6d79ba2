"""The model browser in JupyterLab, against a real engine and a hub on this machine."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.browser import Lab, LabNotebook
from tests.support.hub_lab import FILE, repository
from tests.support.hub_server import Hub

FILTER = "Filter by words"
BUSY = "import time\nbegan = time.monotonic()\nwhile time.monotonic() - began < 60: pass"


@pytest.fixture
def book(opened: Lab, request: pytest.FixtureRequest) -> Iterator[LabNotebook]:
    """A notebook whose second cell shows the browser."""
    name = re.sub(r"\W", "-", request.node.name)
    with opened.notebook(name, "%load_ext llmspell_jupyter", "%model_browser", BUSY) as made:
        made.run_to_end(0)
        made.run_to_end(1)
        made.page.get_by_placeholder(FILTER).wait_for()
        yield made


def row(book: LabNotebook, name: str) -> Any:
    """The row of a model that is shown."""
    label = book.page.get_by_text(re.compile(f"^{name}(:F32)?$"))
    return book.page.locator(".widget-hbox:visible").filter(has=label).last


def only(book: LabNotebook, words: str) -> None:
    """Filter, and wait until the rows follow."""
    book.page.get_by_placeholder(FILTER).fill(words)
    book.page.get_by_text(re.compile(r"of 1 · [012] models?")).wait_for()


def test_filter_sort_and_keys(book: LabNotebook) -> None:
    page = book.page
    row(book, "smollm2:135m").get_by_text("installed").wait_for()
    book.picture("browser")
    only(book, "no such model")
    page.get_by_text("0 models").wait_for()
    only(book, "red")
    row(book, "red").get_by_role("button", name="Pull").wait_for()
    page.get_by_text(re.compile(r"of 1 · \d+ models")).wait_for()
    page.get_by_label("Show", exact=True).select_option("installed")
    row(book, "red").wait_for(state="hidden")
    page.get_by_label("Show", exact=True).select_option("all")
    # From the filter, Tab reaches the controls above and then the buttons of the rows.
    page.get_by_placeholder(FILTER).focus()
    reached = []
    for _ in range(9):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate("document.activeElement.title || document.activeElement.tagName")
        )
    assert "Ask the hub for these words" in reached[0]
    assert "Pull red" in reached, reached
    for _ in range(9 - 1 - reached.index("Pull red")):
        page.keyboard.press("Shift+Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.get_by_label("Spec", exact=True).wait_for()
    assert page.get_by_label("Spec", exact=True).input_value() == "red"


def test_two_pulls_at_once_while_a_cell_runs(book: LabNotebook, hub: Hub) -> None:
    for name in ("red", "blue"):
        hub.fault(f"{repository(name)}/{FILE}", "drip", bytes_per_second=6000)
    try:
        book.run(2)
        for name in ("red", "blue"):
            only(book, name)
            row(book, name).get_by_role("button", name="Pull").click()
            row(book, name).get_by_role("button", name="Cancel").wait_for()
        only(book, "mit test")
        for name in ("red", "blue"):
            row(book, name).get_by_text(re.compile(r"\d %")).wait_for()
        book.picture("browser-pulls")
        row(book, "red").get_by_role("button", name="Cancel").click()
        row(book, "red").get_by_role("button", name="Pull").wait_for()
        assert row(book, "blue").get_by_role("button", name="Cancel").is_visible()
        assert book.running(2), "all of it happened while a cell ran"
        row(book, "blue").get_by_role("button", name="Cancel").click()
        row(book, "blue").get_by_role("button", name="Pull").wait_for()
    finally:
        hub.mend()
        book.page.evaluate("window.jupyterapp.commands.execute('notebook:interrupt-kernel')")


def test_pull_and_remove(book: LabNotebook) -> None:
    only(book, "blue")
    row(book, "blue").get_by_role("button", name="Pull").click()
    row(book, "blue").get_by_role("button", name="Load").wait_for()
    row(book, "blue").get_by_text("installed").wait_for()
    book.picture("browser-pulled")
    row(book, "blue").get_by_role("button", name="Remove").click()
    sure = row(book, "blue").get_by_role("button", name="Sure?")
    sure.wait_for()
    book.picture("browser-sure")
    sure.click()
    row(book, "blue").get_by_role("button", name="Pull").wait_for()


def test_hostile_words_are_words(book: LabNotebook) -> None:
    page = book.page
    only(book, "hostile")
    row(book, "hostile").get_by_role("button", name="Copy").click()
    page.get_by_label("Spec", exact=True).wait_for()
    book.picture("browser-hostile")
    page.wait_for_load_state("networkidle")
    assert not book.dialogs and not book.requests
    assert not page.evaluate("!!window.hacked")
    box = book.cell(1).locator(".jupyter-widgets").first
    assert not box.locator("img, svg, script, iframe, a").count()


def test_closed_it_leaves_a_line(book: LabNotebook) -> None:
    book.page.get_by_role("button", name="Close", exact=True).click()
    line = "The model browser is closed; %model_browser opens it."
    book.page.get_by_text(line).wait_for()
    assert not book.page.locator(".jupyter-widgets").count()
    assert [each["data"] for each in book.outputs(1)] == [{"text/plain": line}]
