"""Settings are in Lab's own editor, and count at once."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Page, expect

from tests.lab.browser.cells import text, theme
from tests.support.browser import Lab, LabNotebook


def profile_field(page: Page) -> Any:
    """Where the profile of new notebooks is typed."""
    return page.get_by_role("group", name="LLMSpell").get_by_role("textbox")


def fill(page: Page, value: str) -> None:
    """Type it there and wait until it counts."""
    profile_field(page).fill(value)
    page.wait_for_function(
        """profile => {
          const caption = window.jupyterapp.commands.caption('llmspell:new-notebook');
          return profile ? caption.endsWith(`profile ${profile}`) : !caption.includes('profile');
        }""",
        arg=value,
    )


def first_line_of_new_notebook(book: LabNotebook) -> str:
    book.page.evaluate("window.jupyterapp.commands.execute('llmspell:new-notebook')")
    book.wait_until_ready()
    return text(book, 0)


def test_settings_count_at_once(opened: Lab) -> None:
    with opened.notebook("settings", "1") as book:
        book.page.evaluate(
            "window.jupyterapp.commands.execute('settingeditor:open', {query: 'LLMSpell'})"
        )
        expect(profile_field(book.page)).to_have_value("")
        book.picture("settings-light")
        theme(book, "Dark")
        book.picture("settings-dark")
        theme(book, "Light")
        editor = book.page.evaluate("window.jupyterapp.shell.currentWidget.id")
        fill(book.page, "minimal")
        assert first_line_of_new_notebook(book).endswith("%llmspell_profile minimal")
        book.page.evaluate("id => window.jupyterapp.shell.activateById(id)", editor)
        fill(book.page, "")
        assert first_line_of_new_notebook(book).endswith("\n%llmspell_profile")
