"""What stands behind the magics of one notebook: its runtime, and how a script is followed."""

from __future__ import annotations

import sys
import time
from typing import Any, Literal

from IPython.core.interactiveshell import InteractiveShell

from llmspell_jupyter.config import texts
from llmspell_jupyter.config.escaping import printable
from llmspell_jupyter.engine import control
from llmspell_jupyter.errors import Interrupted, RequestError
from llmspell_jupyter.magics import live, reports, stats, values
from llmspell_jupyter.magics.errors import Sources, shown_plainly
from llmspell_jupyter.magics.live import LiveLine
from llmspell_jupyter.magics.pull_shows import PullShows
from llmspell_jupyter.magics.settings import LLMSpell
from llmspell_jupyter.runtime import runtime as runtimes
from llmspell_jupyter.runtime.execution import Execution
from llmspell_jupyter.runtime.host import Printed
from llmspell_jupyter.runtime.local_models import LocalModels
from llmspell_jupyter.runtime.runtime import AnswerPart, PullPart
from llmspell_jupyter.runtime.views import PullViews

_FLUSH_SECONDS = 0.05
_LONGEST_LINE = 1000


class Cells:
    """Runs scripts and shows what happens meanwhile. Use on the main thread.

    Args:
        shell: The notebook's IPython.
        settings: Profile or file to start with.
        pull_view: Makes what shows a pull; None prints lines.

    Attributes:
        runtime: The notebook's runtime; its answers to Python code are shown live, too.
        models: What it does with models.
        pulls: Shows the pulls and checks of its cells.
    """

    def __init__(
        self, shell: InteractiveShell, settings: LLMSpell, pull_view: PullViews | None = None
    ):
        self._shell = shell
        self._sources = Sources()
        self.runtime = runtimes.current()
        # Only kernels have displays that can be updated.
        self._live = LiveLine(
            lambda: shell.execution_count,
            enabled=lambda: hasattr(shell, "kernel") and live.wanted(self.runtime.profile),
        )
        self.runtime.show = self._live.show
        self.models = LocalModels(self.runtime)
        self.pulls = PullShows(pull_view, self.is_plain)
        self.runtime.show_pull = self.pulls.show
        self._flushed = 0.0
        self._left: Execution | None = None
        settings.follow(self.runtime)

    def run_lua(
        self, source: str, shown: str, *, expression: bool = False, timeout: float | None = None
    ) -> Any:
        """Run a script to its end.

        Args:
            source: Lua source.
            shown: The cell as the user sees it; its lines are those of ``source``.
            expression: Take the source for an expression if it is one.
            timeout: Seconds it may run; None takes the profile's limit.

        Returns:
            What the script returned, as Python values that show themselves as trees.
        """
        # Of the prompt; the shell counts the running cell already or not, by its version.
        chunk = f"cell[{self._shell.displayhook.prompt_count}]"
        self._sources.add(chunk, shown)
        with shown_plainly(self._sources):
            if not source.strip():
                raise RequestError(
                    "There is no Lua to run.",
                    hint="Write a script below %%lua, or an expression after %lua: %lua 1 + 1",
                )
            # A second Ctrl-C may have come while an earlier one was ended.
            self._end_left()
            execution = self.runtime.start_lua(
                source, chunk, expression=expression, timeout=timeout
            )
            try:
                return values.result(self._follow(execution))
            except BaseException:
                self._left = execution
                self._end_left()
                raise

    def profile(self) -> str:
        """The profile in force, and the names of all."""
        notices = self.runtime.profile.notices
        return "\n".join([reports.profile(self.runtime), reports.choices(), *notices])

    def use_profile(self, name: str | None, config_file: str | None = None) -> str:
        """Load a profile or file; says what is in force then and what changed."""
        switch = self.runtime.use(name, config_file=config_file)
        return reports.switched(self.runtime, switch)

    def list_profiles(self) -> str:
        """All profiles and whom they are for."""
        return texts.listing()

    def diff_profiles(self, one: str, other: str) -> str:
        """What two profiles set differently."""
        return texts.difference(one, other)

    def show_config(self, section: str, form: Literal["toml", "json"]) -> str:
        """Values in force."""
        return texts.show(self.runtime.profile, section, form)

    def validate_config(self, path: str) -> str:
        """Whether a file is right."""
        return texts.validity(path)

    def explain_config(self, key: str) -> str:
        """Where a value comes from."""
        return str(self.runtime.profile.explain(key))

    def status(self) -> str:
        """Profile, engine, workers and jobs."""
        return reports.status(self.runtime)

    def stats(self) -> Any:
        """The calls of this notebook, as a DataFrame where pandas is installed."""
        return stats.table(self.runtime.calls.rows())

    def clear_stats(self) -> str:
        """Forget the calls of this notebook."""
        count = len(self.runtime.calls)
        self.runtime.calls.clear()
        return f"{count} {'call is' if count == 1 else 'calls are'} forgotten."

    def load_model(self, name: str | None) -> str:
        """Get a model ready, with a live line; Ctrl-C gives the load up.

        Raises:
            Interrupted: It was given up.
        """
        try:
            ready = self.models.load(name)
        except KeyboardInterrupt:
            raise Interrupted("Stopped; the load was given up.") from None
        finally:
            self._live.clear()
        return reports.ready(ready)

    def unload_model(self, name: str, *, force: bool) -> str:
        """End the processes that hold a model."""
        return reports.unloaded(name, self.models.unload(name, force=force))

    def is_plain(self) -> bool:
        """Whether outputs have to be the same in every run."""
        return not live.wanted(self.runtime.profile)

    def stop_engine(self) -> str:
        """End the engine; the next answer starts a new one."""
        pid = control.stop(self.runtime.engine)
        return "No engine is running." if pid is None else f"The engine (process {pid}) has ended."

    def engine_log(self) -> str:
        """What the engine and its workers last wrote."""
        # What model files say is in here, too.
        lines = (printable(each, _LONGEST_LINE) for each in control.log_tail().split("\n"))
        return "\n".join(lines) or "The engine has written nothing yet."

    def _write(self, text: str) -> None:
        # Lua's strings are bytes, and terminals know fewer letters than Lua.
        encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
        sys.stdout.write(text.encode(encoding, "replace").decode(encoding))
        # A kernel sends what was written every 0.2 s; words of a model should not wait so long.
        if time.monotonic() - self._flushed > _FLUSH_SECONDS:
            sys.stdout.flush()
            self._flushed = time.monotonic()

    def _follow(self, execution: Execution) -> Any:
        """Show what happens until the script ends; Ctrl-C stops it and then waits for its end."""
        while True:
            try:
                for event in execution.events():
                    if isinstance(event, Printed):
                        self._write(event.text)
                    elif isinstance(event, AnswerPart):
                        self._live.show(event)
                    elif isinstance(event, PullPart):
                        self.pulls.show(event)
                self._live.clear()
                return execution.result()
            except KeyboardInterrupt:
                execution.stop("Stopped; Lua globals and agents are kept.")
            finally:
                self._live.clear()

    def _end_left(self) -> None:
        """End the script that nobody follows any more, if there is one, and close its views."""
        if self._left is None:
            return
        self._left.end("Stopped: nothing shows any more what it does.")
        left, self._left = self._left, None
        for event in left.events():
            if isinstance(event, PullPart) and event.progress is None:
                self.pulls.show(event)
