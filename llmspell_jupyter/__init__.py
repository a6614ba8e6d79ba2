"""Local language models, scripted in Lua or Python, inside a notebook.

In a notebook, ``%load_ext llmspell_jupyter`` brings the magics. The globals of scripts are there
for Python, too: ``from llmspell_jupyter import Agent, LocalLLM``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from IPython.core.interactiveshell import InteractiveShell
    from jupyter_server.serverapp import ServerApp

    from llmspell_jupyter.magics.magics import LLMSpellMagics
    from llmspell_jupyter.runtime.views import PullView

__all__ = [
    "JSON",
    "Agent",
    "Config",
    "Debug",
    "LLMSpellError",
    "LocalLLM",
    "Provider",
    "__version__",
    "load_ipython_extension",
]

_SCRIPT_GLOBALS = frozenset({"Agent", "Config", "Debug", "JSON", "LocalLLM", "Provider"})


# The magics of this process, once they are loaded: they show what Python code waits for.
_magics: LLMSpellMagics | None = None


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Register the magics; IPython calls it for ``%load_ext llmspell_jupyter``."""
    from llmspell_jupyter.magics.errors import shown_plainly
    from llmspell_jupyter.magics.magics import LLMSpellMagics, prepare
    from llmspell_jupyter.magics.model_magics import ModelMagics
    from llmspell_jupyter.widgets.magics import BrowserMagics

    def pull_view(on_cancel: Callable[[], None], render_plain: bool) -> PullView:
        if render_plain or not hasattr(shell, "kernel"):
            from llmspell_jupyter.widgets.pull_lines import PullLines

            return PullLines()
        from llmspell_jupyter.widgets.pull_bar import PullBar

        return PullBar(on_cancel)

    global _magics
    magics = _magics = LLMSpellMagics(shell, pull_view)
    shell.register_magics(magics)
    shell.register_magics(ModelMagics(shell, lambda: magics.cells))
    shell.register_magics(BrowserMagics(shell, lambda: magics.cells.runtime, shown_plainly))
    if comms := getattr(getattr(shell, "kernel", None), "comm_manager", None):
        comms.register_target("llmspell-jupyter", lambda comm, _: magics.page.opened(comm))
    # Controls are on the page a tenth of a second sooner.
    controls = ["llmspell_jupyter.widgets.model_browser", "llmspell_jupyter.widgets.pull_bar"]
    prepare(*(controls if hasattr(shell, "kernel") else ()))


def __getattr__(name: str) -> Any:
    # Importing this package costs next to nothing; what is heavy comes when it is asked for.
    if name in _SCRIPT_GLOBALS:
        from llmspell_jupyter.runtime.runtime import current

        if _magics is not None:
            return _magics.cells.runtime.globals[name]
        return current().globals[name]
    if name == "LLMSpellError":
        from llmspell_jupyter.errors import LLMSpellError

        return LLMSpellError
    if name == "__version__":
        from importlib.metadata import version

        return version("llmspell-jupyter")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _jupyter_labextension_paths() -> list[dict[str, str]]:
    return [{"src": "labextension", "dest": "llmspell-jupyter"}]


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "llmspell_jupyter"}]


def _load_jupyter_server_extension(server: ServerApp) -> None:
    from llmspell_jupyter.lab.extension import load

    load(server)
