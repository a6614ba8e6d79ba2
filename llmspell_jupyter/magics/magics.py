"""The magics. Each parses its line, asks the runtime and shows what it says."""

from __future__ import annotations

import re
import threading
from argparse import SUPPRESS, ArgumentTypeError
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any

from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import Magics, cell_magic, line_magic, magics_class, no_var_expand
from IPython.core.magic_arguments import argument, magic_arguments

from llmspell_jupyter.errors import RequestError
from llmspell_jupyter.magics.arguments import parsed
from llmspell_jupyter.magics.errors import shown_plainly
from llmspell_jupyter.magics.settings import LLMSpell

if TYPE_CHECKING:
    from llmspell_jupyter.magics.cells import Cells
    from llmspell_jupyter.magics.page import Page
    from llmspell_jupyter.runtime.views import PullViews

_LIMIT = re.compile(r"\s*(--timeout\b\s*=?\s*\S*)\s*(.*)", re.DOTALL)


def prepare(*further: str) -> None:
    """Begin to import, beside whatever the user does next, what the first magic will need.

    Args:
        further: Modules to import after that.
    """

    def work() -> None:
        for name in ("llmspell_jupyter.magics.cells", *further):
            import_module(name)

    threading.Thread(target=work, name="llmspell-import", daemon=True).start()


def _seconds(text: str) -> float:
    """A limit of time; nan is none."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not seconds > 0:
        raise ArgumentTypeError(f"{text} is not a number of seconds above 0")
    return seconds


@magics_class
class LLMSpellMagics(Magics):
    """``%llmspell_profile``, ``%%lua`` and the others."""

    def __init__(self, shell: InteractiveShell, pull_view: PullViews | None = None):
        super().__init__(shell)
        self._pull_view = pull_view
        self._settings = LLMSpell(parent=shell)
        # What `%config` lists; typed for shells, though any Configurable will do.
        listed: list[Any] = shell.configurables
        listed[:] = [each for each in listed if not isinstance(each, LLMSpell)]
        listed.append(self._settings)

    @cached_property
    def cells(self) -> Cells:
        """What stands behind the magics, made when it is first needed."""
        # Imported here: loading the extension stays cheap.
        from llmspell_jupyter.magics.cells import Cells

        assert self.shell is not None
        with shown_plainly():
            return Cells(self.shell, self._settings, self._pull_view)

    @cached_property
    def page(self) -> Page:
        """What tells pages of this notebook, made when the first of them asks."""
        from llmspell_jupyter.magics.page import Page

        assert self.shell is not None
        return Page(self.shell, lambda: self.cells)

    @magic_arguments()
    @argument("name", nargs="?", help="a profile; without it, the one in force is shown")
    @argument("-c", "--config", metavar="FILE", help="load a file instead of a profile")
    @argument("--list", action="store_true", help="show all profiles and whom they are for")
    @argument("--show", action="store_true", help="show the values in force, as TOML")
    @argument("--diff", nargs=2, metavar=("A", "B"), help="show what two profiles set differently")
    @line_magic
    def llmspell_profile(self, line: str) -> None:
        """Load a profile, or show which is loaded and which there are.

        Lua globals and agents stay; what changed is shown.
        """
        arguments = parsed(self.llmspell_profile, line)
        cells = self.cells
        with shown_plainly():
            if arguments.list:
                print(cells.list_profiles())
            elif arguments.show:
                print(cells.show_config("", "toml"))
            elif arguments.diff:
                print(cells.diff_profiles(*arguments.diff))
            elif arguments.name or arguments.config:
                print(cells.use_profile(arguments.name, arguments.config))
            else:
                print(cells.profile())

    @magic_arguments()
    @argument("action", choices=("show", "validate", "explain"), help="what to do")
    @argument(
        "what", nargs="?", default="", help="section to show, file to validate, key to explain"
    )
    @argument("--format", choices=("toml", "json"), default="toml", help="of show; default: toml")
    @line_magic
    def llmspell_config(self, line: str) -> None:
        """Show values in force, check a file, or tell where a value comes from."""
        arguments = parsed(self.llmspell_config, line)
        cells = self.cells
        with shown_plainly():
            if arguments.action == "show":
                print(cells.show_config(arguments.what, arguments.format))
            elif not arguments.what:
                raise RequestError(
                    f"{arguments.action} needs to be told what.",
                    hint="Write: %llmspell_config explain KEY, or %llmspell_config validate FILE",
                )
            elif arguments.action == "validate":
                print(cells.validate_config(arguments.what))
            else:
                print(cells.explain_config(arguments.what))

    @magic_arguments("lua")
    @argument("--timeout", type=_seconds, metavar="SECONDS", help="stop it after so long")
    @argument("expression", nargs="*", help="Lua, as it is typed: braces and $ are Lua's")
    @no_var_expand
    @line_magic("lua")  # type: ignore[arg-type]  # its type knows no names
    def lua_line(self, line: str) -> Any:
        """Run a line of Lua. The value of an expression is the value of the magic.

        Globals live from cell to cell; %llmspell_reset forgets them.
        """
        # The rest of the line is no list of words: quotes in it are Lua's.
        limit, source = found.groups() if (found := _LIMIT.fullmatch(line)) else ("", line)
        timeout = parsed(self.lua_line, limit).timeout
        return self.cells.run_lua(source, "%lua " + line, expression=True, timeout=timeout)

    @magic_arguments()
    @argument("--timeout", type=_seconds, metavar="SECONDS", help="stop the script after so long")
    @argument("misplaced", nargs="*", help=SUPPRESS)
    @cell_magic
    def lua(self, line: str, cell: str) -> Any:
        """Run Lua. What it prints appears in order, what it returns is the cell's value.

        Globals live from cell to cell; %llmspell_reset forgets them.
        """
        arguments = parsed(self.lua, line)
        if arguments.misplaced:
            with shown_plainly():
                raise RequestError(
                    f"%%lua does not know {' '.join(arguments.misplaced)!r}.",
                    hint="Write the script below the line that says %%lua.",
                )
        # One line more on top, and Lua counts lines as the cell does.
        shown = f"%%lua {line}".rstrip() + "\n" + cell
        return self.cells.run_lua("\n" + cell, shown, timeout=arguments.timeout)

    @line_magic
    def llmspell_status(self, line: str) -> None:
        """Show profile, engine, loaded models and running jobs."""
        cells = self.cells
        with shown_plainly():
            print(cells.status())

    @magic_arguments()
    @argument("--clear", action="store_true", help="forget the calls so far")
    @line_magic
    def llmspell_stats(self, line: str) -> Any:
        """The calls that this notebook made: when, which model, tokens, times, errors.

        A DataFrame where pandas is installed, else a list that shows itself as a table. The last
        10,000 calls are kept; %llmspell_reset does not forget them.
        """
        arguments = parsed(self.llmspell_stats, line)
        cells = self.cells
        with shown_plainly():
            if arguments.clear:
                print(cells.clear_stats())
                return None
            return cells.stats()

    @magic_arguments()
    @argument("action", nargs="?", choices=("status", "stop", "logs"), help="default: status")
    @line_magic
    def llmspell_engine(self, line: str) -> None:
        """Show the engine that runs the models, end it, or show what it last wrote."""
        arguments = parsed(self.llmspell_engine, line)
        cells = self.cells
        with shown_plainly():
            reports = {"stop": cells.stop_engine, "logs": cells.engine_log}
            print(reports.get(arguments.action, cells.status)())

    @line_magic
    def llmspell_reset(self, line: str) -> None:
        """Forget Lua globals and agents; profile and loaded models stay."""
        runtime = self.cells.runtime
        with shown_plainly():
            runtime.reset()
            print(f"Lua globals and agents are forgotten; profile {runtime.profile.name} stays.")
