"""The magics. Each parses its line, asks the runtime and shows what it says."""

from __future__ import annotations

import sys
from typing import Any

from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import Magics, line_cell_magic, line_magic, magics_class
from IPython.core.magic_arguments import argument, magic_arguments, parse_argstring

from llmspell_jupyter.config import environment
from llmspell_jupyter.errors import RequestError
from llmspell_jupyter.magics import reports, values
from llmspell_jupyter.magics.errors import Sources, shown_plainly
from llmspell_jupyter.magics.live import LiveLine
from llmspell_jupyter.runtime import runtime as runtimes
from llmspell_jupyter.runtime.execution import Execution
from llmspell_jupyter.runtime.host import Printed
from llmspell_jupyter.runtime.runtime import AnswerPart


@magics_class
class LLMSpellMagics(Magics):
    """``%llmspell_profile``, ``%%lua`` and the others."""

    def __init__(self, shell: InteractiveShell):
        super().__init__(shell)
        self._sources = Sources()
        # Only kernels have displays that can be updated; a fixed rendering must not change.
        updatable = hasattr(shell, "kernel") and environment.render() == "auto"
        self._live = LiveLine(lambda: shell.execution_count, enabled=updatable)

    @property
    def runtime(self) -> runtimes.Runtime:
        """The notebook's runtime, whose answers to Python code are shown live, too."""
        runtime = runtimes.current()
        runtime.show = self._live.show
        return runtime

    @magic_arguments()
    @argument("name", nargs="?", help="a profile; without it, the one in force is shown")
    @line_magic
    def llmspell_profile(self, line: str) -> None:
        """Load a profile, or show which is loaded and which there are."""
        arguments = parse_argstring(self.llmspell_profile, line)
        with shown_plainly():
            if arguments.name:
                self.runtime.use(arguments.name)
            print(reports.profile(self.runtime, choices=not arguments.name))

    @magic_arguments()
    @argument("--timeout", type=float, metavar="SECONDS", help="stop the script after so long")
    @argument("expression", nargs="*", help="Lua on the magic's own line, as %%lua 1 + 1")
    @line_cell_magic
    def lua(self, line: str, cell: str | None = None) -> Any:
        """Run Lua. What it prints appears in order, what it returns is the cell's value.

        Globals live from cell to cell; %%llmspell_reset forgets them.
        """
        if cell is None:
            return self._run(line, "%lua " + line, expression=True)
        arguments = parse_argstring(self.lua, line)
        if arguments.expression:
            with shown_plainly():
                raise RequestError(
                    f"%%lua does not know {' '.join(arguments.expression)!r}.",
                    hint="Write the script below the line that says %%lua.",
                )
        # One line more on top, and Lua counts lines as the cell does.
        shown = f"%%lua {line}".rstrip() + "\n" + cell
        return self._run("\n" + cell, shown, timeout=arguments.timeout)

    @line_magic
    def llmspell_status(self, line: str) -> None:
        """Show profile, engine, loaded models and running jobs."""
        with shown_plainly():
            print(reports.status(self.runtime))

    @line_magic
    def llmspell_reset(self, line: str) -> None:
        """Forget Lua globals and agents; profile and loaded models stay."""
        with shown_plainly():
            self.runtime.reset()
            print(
                f"Lua globals and agents are forgotten; profile {self.runtime.profile.name} stays."
            )

    @line_magic
    def model_list(self, line: str) -> None:
        """Show the models on this machine."""
        with shown_plainly():
            print(reports.models(self.runtime.engine.models()))

    def _run(
        self, source: str, shown: str, *, expression: bool = False, timeout: float | None = None
    ) -> Any:
        chunk = f"cell[{self.shell.execution_count}]" if self.shell else "cell"
        self._sources.add(chunk, shown)
        with shown_plainly(self._sources):
            if not source.strip():
                raise RequestError(
                    "There is no Lua to run.",
                    hint="Write a script below %%lua, or an expression after %lua: %lua 1 + 1",
                )
            execution = self.runtime.start_lua(
                source, chunk, expression=expression, timeout=timeout
            )
            return values.result(self._follow(execution))

    def _follow(self, execution: Execution) -> Any:
        """Show what happens until the script ends; Ctrl-C stops it and then waits for its end."""
        while True:
            try:
                for event in execution.events():
                    if isinstance(event, Printed):
                        sys.stdout.write(event.text)
                    elif isinstance(event, AnswerPart):
                        self._live.show(event)
                self._live.clear()
                return execution.result()
            except KeyboardInterrupt:
                execution.stop("Stopped; Lua globals and agents are kept.")
            finally:
                self._live.clear()
