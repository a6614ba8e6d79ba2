"""The sidebar beside a notebook: engine, models, and what can be done with them."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest
from playwright.sync_api import expect

from llmspell_jupyter.engine import control
from llmspell_jupyter.engine.client import EngineClient
from tests.lab.browser.cells import text, theme
from tests.lab.browser.conftest import HOSTILE_MODEL, RED
from tests.lab.browser.sidebar import PANEL, beside, engine
from tests.support.browser import Lab
from tests.support.engines import SMOLLM2, jupyter_llmspell
from tests.support.hub_lab import HOSTILE
from tests.support.hub_server import Hub
from tests.support.tiny_gguf import write_tiny_gguf

# Pictures come into a page by these; our own icons say so.
FOREIGN = "img, script, iframe, object, embed, a, svg:not([data-icon])"

# What WCAG asks of small text.
READABLE = 4.5


@pytest.fixture(autouse=True)
def no_engine(opened: Lab) -> None:
    """Each begins without an engine, and without what others left in it."""
    client = EngineClient()
    try:
        control.stop(client)
    finally:
        client.close()


def test_models_show_without_an_engine(opened: Lab) -> None:
    with beside(opened, "models") as side:
        row = side.installed(SMOLLM2)
        expect(row).to_contain_text("98.4 MB · Q4_1 · apache-2.0")
        expect(side.section("Engine")).to_contain_text("Not running")
        expect(side.offer(RED)).to_contain_text("mit")
        side.unfold(row)
        expect(row).to_contain_text("8,192 tokens")
        side.picture("models")
        assert side.faintest()[0] >= READABLE, side.faintest()
        side.filter("qwen 0.5b")
        expect(side.offer("qwen2-0.5b")).to_be_visible()
        expect(side.offer(RED)).to_have_count(0)
        theme(side.book, "Dark")
        side.picture("models-dark")
        assert side.faintest()[0] >= READABLE, side.faintest()
        theme(side.book, "Light")
        with engine() as running:
            assert running is None
        assert side.book.requests == []


def test_load_and_eject(opened: Lab) -> None:
    with beside(opened, "load") as side:
        row = side.installed(SMOLLM2)
        row.get_by_role("button", name=f"Load {SMOLLM2} into memory").focus()
        side.book.page.keyboard.press("Enter")
        expect(row).to_contain_text("ready")
        # The button has gone, and the keyboard is still in its row.
        expect(row.locator(":focus")).to_have_count(1)
        expect(row).to_contain_text(re.compile(r"MB in memory · cpu · leaves in 15 min"))
        state = side.section("Engine")
        expect(state).to_contain_text("Running")
        expect(state).to_contain_text("auto: no cuda")
        meter = state.get_by_role("meter")
        expect(meter).to_have_attribute("aria-valuetext", re.compile(r"GB free, models hold .* MB"))
        side.picture("loaded")
        theme(side.book, "Dark")
        side.picture("loaded-dark")
        theme(side.book, "Light")
        row.get_by_role("button", name=f"Eject {SMOLLM2} from memory").click()
        expect(row.get_by_role("button", name=f"Load {SMOLLM2} into memory")).to_be_visible()
        expect(side.panel.get_by_role("status").first).to_contain_text("has left the memory")
        with engine() as running:
            assert running and not running.status()["workers"]


def test_what_was_loaded_by_its_path_is_ejected(opened: Lab, tmp_path: Path) -> None:
    path = str(write_tiny_gguf(tmp_path / "own.gguf"))
    with beside(opened, "path", "%load_ext llmspell_jupyter", f"%model_load {path}") as side:
        side.book.run_to_end(0)
        side.book.run_to_end(1)
        row = side.installed(path)
        expect(row).to_contain_text("ready")
        side.picture("loaded-by-path")
        row.get_by_role("button", name=f"Eject {path} from memory").click()
        expect(row).to_have_count(0)
        expect(side.panel.get_by_role("status").first).to_contain_text("has left the memory")


def test_verify_says_that_all_is_well(opened: Lab) -> None:
    with beside(opened, "verify") as side:
        row = side.installed(SMOLLM2)
        side.unfold(row)
        row.get_by_role("button", name=re.compile("^Compare the files")).click()
        expect(side.panel.get_by_role("status").first).to_contain_text(
            re.compile(f"{SMOLLM2} (is sound|can be read)")
        )


def test_remove_is_asked_for(opened: Lab) -> None:
    with beside(opened, "remove") as side:
        page = side.book.page
        side.unfold(side.offer(RED))
        side.offer(RED).get_by_role("button", name=f"Pull {RED}").click()
        row = side.section("On this machine").locator("li").filter(has_text=re.compile(RED))
        row.wait_for()
        expect(side.offer(RED)).to_contain_text("here")
        side.unfold(row)
        remove = row.get_by_role("button", name=re.compile("^Remove "))
        remove.click()
        side.picture("remove")
        page.get_by_role("dialog").get_by_role("button", name="Keep").click()
        expect(row).to_be_visible()
        remove.click()
        page.get_by_role("dialog").get_by_role("button", name="Remove").click()
        expect(row).to_have_count(0)
        expect(side.panel.get_by_role("status").first).to_contain_text("is removed")


def test_a_model_that_somebody_else_removes_leaves_the_list(opened: Lab) -> None:
    with beside(opened, "elsewhere") as side:
        assert not jupyter_llmspell(dict(os.environ), "model", "pull", RED).returncode
        row = side.section("On this machine").locator("li").filter(has_text=re.compile(RED))
        row.wait_for()
        # An idle page asks; one at work is told.
        with side.book.page.expect_response("**/llmspell/api/status*", timeout=30_000):
            pass
        side.asked.clear()
        assert not jupyter_llmspell(dict(os.environ), "model", "remove", RED).returncode
        expect(row).to_have_count(0)
        assert "events" not in side.asked and side.asked.count("models") == 1


def test_fit_is_judged_when_asked(opened: Lab) -> None:
    with beside(opened, "fit") as side:
        row = side.offer(RED)
        side.unfold(row)
        assert "fit" not in side.asked
        row.get_by_role("button", name=f"Judge whether {RED} fits this machine").click()
        expect(row).to_contain_text(re.compile(r"fits|tight"), timeout=90_000)
        expect(row).to_contain_text("tokens of context")
        side.picture("fit")


def test_an_inserted_cell_runs_as_it_is(opened: Lab) -> None:
    with beside(opened, "insert", "") as side:
        row = side.installed(SMOLLM2)
        row.get_by_role("button", name=f"Insert a cell with {SMOLLM2}").click()
        assert text(side.book, 0) == "%load_ext llmspell_jupyter"
        assert text(side.book, 1).startswith("%%lua\nlocal agent = Agent.builder()")
        side.book.run_to_end(1)
        (output, *_) = side.book.outputs(1)
        assert output["output_type"] != "error", output
        side.picture("inserted")


def test_the_keyboard_reaches_everything(opened: Lab) -> None:
    with beside(opened, "keys") as side:
        page = side.book.page
        side.filter(RED)
        side.panel.get_by_role("button", name="Look again at engine and models").focus()
        wanted = ["Engine", f"Insert a cell with {SMOLLM2}", "Filter models; Enter asks the hub"]
        reached: list[str] = []
        # Each model that other tests have pulled is a few steps more.
        while len(reached) < 60 and wanted[-1] not in reached:
            page.keyboard.press("Tab")
            reached.append(
                page.evaluate(
                    "document.activeElement.getAttribute('aria-label')"
                    " || document.activeElement.textContent"
                )
            )
        places = [next(i for i, each in enumerate(reached) if want in each) for want in wanted]
        assert places == sorted(places), reached
        side.offer(RED).locator(".llmspell-fold").focus()
        page.keyboard.press("Enter")
        expect(side.offer(RED).get_by_role("button", name=f"Pull {RED}")).to_be_visible()


def test_hostile_words_are_words(opened: Lab, hub: Hub) -> None:
    """Of a catalog, of a hub, and of a model file's own header."""
    path = opened.root.parent / "hostile.gguf"
    write_tiny_gguf(path, seed=7, change=lambda writer: writer.add_license(HOSTILE[0]))
    hub.add("lab/hostile-words", {"model.F32.gguf": path}, license=HOSTILE[0])
    with beside(opened, "hostile") as side:
        page = side.book.page
        side.filter(HOSTILE_MODEL)
        side.unfold(side.offer(HOSTILE_MODEL))
        expect(side.offer(HOSTILE_MODEL)).to_contain_text("onerror=alert(1)")
        side.picture("hostile")
        side.filter("lab/hostile-words", hub=True)
        offer = side.section("Catalog").locator("li").filter(has_text="hostile-words").first
        side.unfold(offer)
        offer.get_by_role("button", name=re.compile("^Pull ")).click()
        row = side.section("On this machine").locator("li").filter(has_text="hostile-words").first
        row.wait_for()
        side.unfold(row)
        side.picture("hostile-hub")
        page.wait_for_load_state("networkidle")
        assert not page.locator(PANEL).locator(FOREIGN).count()
        assert not side.book.dialogs and not side.book.requests
        assert not page.evaluate("!!window.hacked")


def test_an_idle_page_asks_once_in_ten_seconds(opened: Lab) -> None:
    with beside(opened, "idle") as side:
        page = side.book.page
        expect(side.section("At work")).to_contain_text("Nothing runs.")
        # Until what the page did when it opened is over.
        with page.expect_response("**/llmspell/api/status*", timeout=30_000):
            pass
        side.asked.clear()
        began = time.monotonic()
        with page.expect_response("**/llmspell/api/status*", timeout=30_000):
            pass
        assert time.monotonic() - began > 9
        assert side.asked == ["status"]


def test_a_hidden_page_asks_nothing(opened: Lab) -> None:
    with beside(opened, "hidden") as side:
        page = side.book.page
        expect(side.section("At work")).to_contain_text("Nothing runs.")
        page.evaluate(
            "Object.defineProperty(document, 'hidden', {value: true, configurable: true});"
            "document.dispatchEvent(new Event('visibilitychange'))"
        )
        side.asked.clear()
        page.wait_for_timeout(11_000)
        assert side.asked == []
        page.evaluate("delete document.hidden")
        with page.expect_response("**/llmspell/api/status*"):
            page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


def test_nothing_sticks_out_of_250_pixels(opened: Lab) -> None:
    with beside(opened, "narrow") as side:
        page = side.book.page
        side.unfold(side.installed(SMOLLM2))
        side.filter(RED)
        side.unfold(side.offer(RED))
        box = side.panel.bounding_box()
        assert box and box["width"] <= 250
        side.picture("narrow")
        wide = page.evaluate(
            """panel => [...document.querySelectorAll(`${panel} *`)].filter(
                 each => each.getBoundingClientRect().right
                   > document.querySelector(panel).getBoundingClientRect().right + 1)
                 .map(each => each.className)""",
            PANEL,
        )
        assert wide == []


def test_an_engine_that_hangs_is_said_to_hang(opened: Lab) -> None:
    with beside(opened, "hangs") as side:
        side.filter("lab", hub=True)
        state = side.section("Engine")
        expect(state).to_contain_text("Running")
        with engine() as running:
            assert running
            process = running.process
        process.suspend()
        try:
            side.panel.get_by_role("button", name="Look again at engine and models").click()
            expect(state).to_contain_text("Does not answer")
            side.picture("hangs")
        finally:
            process.resume()
        expect(state).to_contain_text("Running")
