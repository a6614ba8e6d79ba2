"""The notebook's profile in the status bar, and another one at a click."""

from __future__ import annotations

import os
from typing import Any

from playwright.sync_api import expect

from tests.lab.browser.cells import theme
from tests.support import kernelspecs
from tests.support.browser import Lab, LabNotebook

LOAD = "%load_ext llmspell_jupyter"
SHOW = "%llmspell_profile"


def item(book: LabNotebook) -> Any:
    return book.page.locator("#jp-main-statusbar").get_by_role("button", name="Profile:")


def choose(book: LabNotebook, name: str) -> None:
    item(book).click()
    book.page.get_by_role("menuitem", name=name).or_(
        book.page.get_by_role("menuitemcheckbox", name=name)
    ).first.click()


def test_profile_is_shown_and_switched(opened: Lab) -> None:
    with opened.notebook("profile", LOAD, SHOW, "%llmspell_profile candle") as book:
        expect(item(book)).to_have_count(0)
        book.run_to_end(0)
        expect(item(book)).to_have_text("Profile: candle")
        assert "model smollm2:135m" in item(book).get_attribute("title")
        book.picture("profile-light")
        item(book).click()
        expect(book.page.locator(".lm-Menu-item")).to_have_count(10)
        expect(book.page.locator(".lm-Menu-item.lm-mod-toggled")).to_contain_text("candle")
        book.picture("profile-menu-light")
        book.page.keyboard.press("Escape")
        choose(book, "minimal")
        expect(item(book)).to_have_text("Profile: minimal")
        book.run_to_end(1)
        assert book.outputs(1)[0]["text"].startswith("Profile minimal")
        book.run_to_end(2)
        expect(item(book)).to_have_text("Profile: candle")
        theme(book, "Dark")
        item(book).click()
        book.picture("profile-menu-dark")
        book.page.keyboard.press("Escape")
        theme(book, "Light")
        assert book.requests == []


def test_profile_is_there_again_after_a_reload_and_gone_after_a_restart(opened: Lab) -> None:
    with opened.notebook("profile-reload", LOAD, "%llmspell_profile minimal") as book:
        book.run_to_end(0)
        book.run_to_end(1)
        expect(item(book)).to_have_text("Profile: minimal")
        book.save()
        book.reload()
        expect(item(book)).to_have_text("Profile: minimal")
        book.restart()
        expect(item(book)).to_have_count(0)
        book.run_to_end(0)
        expect(item(book)).to_have_text("Profile: candle")


def test_switch_waits_for_the_cell_that_runs(opened: Lab) -> None:
    waits = "import pathlib, time\nwhile not pathlib.Path('go').exists(): time.sleep(0.01)"
    with opened.notebook("profile-busy", LOAD, waits) as book:
        book.run_to_end(0)
        expect(item(book)).to_have_text("Profile: candle")
        book.run(1)
        expect(book.cell(1).locator(".jp-InputPrompt")).to_contain_text("*")
        choose(book, "minimal")
        expect(item(book)).to_have_text("Profile: candle → minimal …")
        (opened.root / "go").touch()
        expect(item(book)).to_have_text("Profile: minimal")


def test_keyboard_chooses(opened: Lab) -> None:
    with opened.notebook("profile-keys", LOAD) as book:
        book.run_to_end(0)
        item(book).focus()
        book.page.keyboard.press("Enter")
        book.page.keyboard.press("ArrowDown")
        book.page.keyboard.press("Enter")
        expect(item(book)).to_have_text("Profile: minimal")
        expect(item(book)).to_be_focused()


def test_profile_is_there_after_a_kernel_that_never_said_a_word(opened: Lab) -> None:
    kernelspecs.install(os.environ, "mute", kernelspecs.MUTE)
    with opened.notebook("profile-mute", LOAD) as book:
        book.change_kernel("mute")
        book.change_kernel("python3")
        book.wait_until_ready()
        book.run_to_end(0)
        expect(item(book)).to_have_text("Profile: candle")


def test_other_notebooks_are_left_alone(opened: Lab) -> None:
    with opened.notebook("profile-none", "a = 1", "get_ipython().history_manager") as book:
        book.run_to_end(0)
        expect(item(book)).to_have_count(0)
