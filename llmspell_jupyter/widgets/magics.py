"""The magic of the model browser."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import Magics, line_magic, magics_class

if TYPE_CHECKING:
    from llmspell_jupyter.runtime.runtime import Runtime
    from llmspell_jupyter.widgets.model_browser import ModelBrowser


@magics_class
class BrowserMagics(Magics):
    """``%model_browser``.

    Args:
        shell: The notebook's IPython.
        runtime: Gives the notebook's runtime, made when it is first needed.
        shown_plainly: Lets errors leave a block as one message.
    """

    def __init__(
        self,
        shell: InteractiveShell,
        runtime: Callable[[], Runtime],
        shown_plainly: Callable[[], AbstractContextManager[None]],
    ):
        super().__init__(shell)
        self._runtime = runtime
        self._shown_plainly = shown_plainly
        self._open: ModelBrowser | None = None

    @line_magic
    def model_browser(self, line: str) -> None:
        """Browse the models of this machine and those that can be had.

        Filter, sort, pull, cancel, load, unload, remove, copy a spec. Where there are no controls
        it is a table of plain text.
        """
        # Imported here: loading the extension stays cheap.
        from llmspell_jupyter.widgets.source import Source

        with self._shown_plainly():
            runtime = self._runtime()
            source = Source(runtime)
            plain = runtime.profile.configuration.notebook.render == "plain"
            if plain or not hasattr(self.shell, "kernel"):
                from llmspell_jupyter.widgets import plain_table

                print(plain_table.of(source, fits=not plain))
                return
            from llmspell_jupyter.widgets.model_browser import ModelBrowser

            if self._open is not None:
                self._open.close("The model browser is in a later cell.")
            self._open = ModelBrowser(source)
            self._open.show()
