"""Cells that begin with ``%%lua`` are Lua to the editor, others stay Python."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.lab.browser.cells import line, looks, press, text, theme, wait_for_look
from tests.support.browser import Lab

LUA = """\
%%lua
local function twice(n)
  -- a comment
  return n - 1 + 2 * tonumber("3"), Agent
end
local long = [==[ one
end ]==]
return twice(4)"""

PYTHON = """\
# Python
local = "a"
def twice(n):
    return n"""


def test_lua_and_python_beside_each_other(opened: Lab) -> None:
    with opened.notebook("colours", LUA, PYTHON) as book:
        wait_for_look(book, 1, 3, "def", "keyword")
        for number, word, kind in [
            (1, "%%lua", "meta"),
            (2, "local", "keyword"),
            (2, "function", "keyword"),
            (3, "comment", "comment"),
            (4, "1", "number"),
            (4, "tonumber", "builtin"),
            (4, "Agent", "builtin"),
            (4, "3", "string"),
            (6, "one", "string"),
            (7, "end", "string"),
            (8, "return", "keyword"),
        ]:
            assert looks(book, 0, number, word, kind), (number, word, kind)
        assert not looks(book, 1, 2, "local", "keyword")
        assert looks(book, 1, 4, "return", "keyword")
        book.picture("cells-light")
        theme(book, "Dark")
        book.picture("cells-dark")
        theme(book, "Light")
        assert book.requests == []


def test_language_follows_first_line(opened: Lab) -> None:
    with opened.notebook("switch", "%%lua\nlocal x = nil -- one") as book:
        wait_for_look(book, 0, 2, "local", "keyword")
        press(book, 0, 1, "Home", "Delete", "Delete")
        wait_for_look(book, 0, 2, "local", "keyword", so=False)
        assert not looks(book, 0, 2, "one", "comment")
        book.page.keyboard.type("%%")
        wait_for_look(book, 0, 2, "local", "keyword")
        assert looks(book, 0, 2, "one", "comment")
        book.page.keyboard.type("x")
        wait_for_look(book, 0, 2, "local", "keyword", so=False)


def test_blank_lines_may_stand_above(opened: Lab) -> None:
    with opened.notebook("blank", "\n  \n%%lua\nlocal x = 1", "\nlocal = 1\n%%lua") as book:
        wait_for_look(book, 0, 4, "local", "keyword")
        assert looks(book, 0, 3, "%%lua", "meta")
        assert not looks(book, 1, 2, "local", "keyword")
        press(book, 0, 4, "Control+a", "Control+/")
        assert text(book, 0) == "\n  \n%%lua\n-- local x = 1"
        press(book, 0, 1, "Home", "x")
        wait_for_look(book, 0, 3, "%%lua", "meta", so=False)


def test_kernel_comes_anew_and_cell_stays_lua(opened: Lab) -> None:
    with opened.notebook("restart", "%%lua\nlocal x = 1", "local = 1") as book:
        book.restart()
        wait_for_look(book, 0, 2, "local", "keyword")
        assert not looks(book, 1, 1, "local", "keyword")


def test_blocks_are_indented(opened: Lab) -> None:
    with opened.notebook("indent", "%%lua") as book:
        press(book, 0, 1, "End", "Enter")
        book.page.keyboard.type(
            "function f(t)\nif t.end_ then\ng(function()\nendless = n-1\nend)\nelse\nreturn {\n1,\n}"
            "\nend\nend\nx = [[\nend\n]]\nfor i = 1, 2 do\nx = i"
        )
        assert text(book, 0).splitlines() == [
            "%%lua",
            "function f(t)",
            "    if t.end_ then",
            "        g(function()",
            "            endless = n-1",
            "        end)",
            "    else",
            "        return {",
            "            1,",
            "        }",
            "    end",
            "end",
            "x = [[",
            "end",
            "]]",
            "for i = 1, 2 do",
            "    x = i",
        ]


def test_comments_are_toggled(opened: Lab) -> None:
    lua, python = "%%lua\nlocal x = 1\nprint(x)", "x = 1"
    with opened.notebook("comments", lua, python) as book:
        press(book, 0, 2, "Control+/")
        assert text(book, 0) == "%%lua\n-- local x = 1\nprint(x)"
        press(book, 0, 2, "Control+/")
        assert text(book, 0) == lua
        # The line that makes it Lua is left out.
        press(book, 0, 1, "Control+a", "Control+/")
        assert text(book, 0) == "%%lua\n-- local x = 1\n-- print(x)"
        book.page.keyboard.press("Control+/")
        assert text(book, 0) == lua
        press(book, 0, 1, "Control+/")
        assert text(book, 0) == lua
        press(book, 1, 1, "Control+/")
        assert text(book, 1) == "# x = 1"


MATCHER = """\
from IPython.core.completer import SimpleCompletion, context_matcher

@context_matcher(identifier="test")
def match(context):
    assert context.full_text.startswith("%%lua")
    found = [SimpleCompletion("known_to_kernel", type="function")]
    return {"completions": found, "matched_fragment": "known_to_", "suppress": True}

get_ipython().Completer.custom_matchers.append(match)"""


def test_kernel_is_asked_to_complete(opened: Lab) -> None:
    with opened.notebook("complete", MATCHER, "%%lua\nreturn known_to_") as book:
        book.run_to_end(0)
        press(book, 1, 2, "End", "Tab")
        expect(book.page.locator(".jp-Completer-item")).to_have_text("fknown_to_kernelfunction")
        book.page.keyboard.press("Enter")
        expect(line(book, 1, 2)).to_have_text("return known_to_kernel")


def test_consoles_know_lua_too(opened: Lab) -> None:
    with opened.notebook("console", "1") as book:
        language = book.page.evaluate(
            """async () => {
              const { commands } = window.jupyterapp;
              const { console } = await commands.execute('console:create', {
                kernelPreference: { name: 'python3' },
              });
              const { model, editor } = console.promptCell;
              model.sharedModel.setSource('%%lua\\nlocal x = 1');
              return editor.editor.contentDOM.dataset.language;
            }"""
        )
        assert language == "llmspell-lua"
