"""The magics of models. Each parses its line, asks the runtime and shows what it says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import Magics, line_magic, magics_class
from IPython.core.magic_arguments import argument, kwds, magic_arguments

from llmspell_jupyter.errors import Interrupted, RequestError
from llmspell_jupyter.magics.arguments import parsed
from llmspell_jupyter.magics.errors import shown_plainly

if TYPE_CHECKING:
    from llmspell_jupyter.engine.client import Pull
    from llmspell_jupyter.magics.cells import Cells
    from llmspell_jupyter.types import PullProgress, PullRequest

_FIRST = "To see what there is, type: %model_available"

_FOOT = """EXAMPLES:
    %model_available                           # what there is
    %model_pull tinyllama:Q4_K_M@candle        # a model of the catalog
    %model_pull hf.co/TheBloke/phi-2-GGUF:Q4_K_M
    %model_pull llama3.1:8b@ollama             # through Ollama's server

Browse models online:
  Ollama:  https://ollama.com/library
  Candle:  https://huggingface.co/models?pipeline_tag=text-generation"""


@magics_class
class ModelMagics(Magics):
    """``%model_list``, ``%model_pull`` and the others.

    Args:
        shell: The notebook's IPython.
        cells: Gives what stands behind the magics.
    """

    def __init__(self, shell: InteractiveShell, cells: Callable[[], Cells]):
        super().__init__(shell)
        self._cells = cells

    @magic_arguments()
    @argument("backend", nargs="?", help="candle or ollama; without it, both")
    @argument("--search", nargs="+", default=[], metavar="TEXT", help="words to look for")
    @line_magic
    def model_available(self, line: str) -> None:
        """Show the models that can be had: the catalog, bundled ones, Ollama's, the hub's.

        The hub is searched only for words: %model_available --search qwen coder
        """
        arguments = parsed(self.model_available, line)
        cells = self._cells()
        with shown_plainly():
            from llmspell_jupyter.runtime import model_texts

            search = " ".join(arguments.search)
            print(model_texts.available(cells.models.available(arguments.backend, search)))

    @magic_arguments()
    @kwds(epilog=_FOOT)
    @argument("model", nargs="?", help="a model, as below; with --locked, all without it")
    @argument("-q", "--quantization", metavar="Q", help="which files to take, such as Q5_K_M")
    @argument("--revision", metavar="R", help="branch, tag or commit of the repository")
    @argument("--force", action="store_true", help="fetch again what is there")
    @argument("--background", action="store_true", help="do not wait; %%llmspell_status shows it")
    @argument("--limit", metavar="20MB/s", help="most that this download takes of the network")
    @argument("--locked", action="store_true", help="fetch what llmspell.lock says, byte for byte")
    @line_magic
    def model_pull(self, line: str) -> None:
        """Fetch a model, checked byte for byte. Ctrl-C stops; the same line goes on later.

        A name without @candle or @ollama is one of candle, unless the profile's own provider is
        an Ollama server.
        """
        if line.strip() in ("-h", "--help"):
            print(self.model_pull.__doc__)
            return
        arguments = parsed(self.model_pull, line)
        cells = self._cells()
        with shown_plainly():
            from llmspell_jupyter.runtime import sizes

            if not arguments.model and not arguments.locked:
                raise RequestError(
                    "%model_pull needs the name of a model.",
                    hint=f"{_FIRST}\nThen, for one of them: %model_pull tinyllama",
                )
            limit = sizes.rate(arguments.limit) if arguments.limit else 0
            again = f"%model_pull {line.strip()}"
            if arguments.locked:
                self._pull_locked(cells, arguments, limit, again)
                return
            request = cells.models.request(
                arguments.model,
                quantization=arguments.quantization,
                revision=arguments.revision,
                force=arguments.force,
                bytes_per_second=limit,
            )
            self._fetch(cells, request, again, background=arguments.background)

    @magic_arguments()
    @argument("backend", nargs="?", help="candle or ollama; without it, both")
    @line_magic
    def model_list(self, line: str) -> None:
        """Show the models on this machine."""
        arguments = parsed(self.model_list, line)
        cells = self._cells()
        with shown_plainly():
            from llmspell_jupyter.runtime import model_texts

            found = cells.models.listed(arguments.backend)
            print(model_texts.installed(found, cells.models.loaded()))

    @magic_arguments()
    @argument("model", nargs="?", help="a model or a path")
    @line_magic
    def model_info(self, line: str) -> None:
        """Show everything known of a model of this machine."""
        cells, name = self._named(self.model_info, line, "model_info")
        with shown_plainly():
            from llmspell_jupyter.runtime import model_texts

            print(model_texts.info(cells.models.info(name)))

    @magic_arguments()
    @argument("model", nargs="?", help="a model of this machine, the catalog or the hub; a path")
    @line_magic
    def model_fit(self, line: str) -> None:
        """Show whether a model fits this machine and how fast it would be, before it is fetched.

        The first time this measures the machine for some seconds.
        """
        cells, name = self._named(self.model_fit, line, "model_fit")
        with shown_plainly():
            from llmspell_jupyter.runtime import fit_texts

            print(fit_texts.fit(cells.models.fit(name)))

    @magic_arguments()
    @argument("model", nargs="?", help="a model or a path")
    @line_magic
    def model_verify(self, line: str) -> None:
        """Compare the bytes of a model with what was published."""
        cells, name = self._named(self.model_verify, line, "model_verify")
        with shown_plainly():
            from llmspell_jupyter.runtime import model_texts

            with cells.pulls.ending_with(model_texts.verified):
                self._wait(cells, cells.models.verify(name), f"%model_verify {line.strip()}")

    @magic_arguments()
    @argument("model", nargs="?", help="a model")
    @line_magic
    def model_remove(self, line: str) -> None:
        """Delete a model that was pulled; what others need of it stays."""
        cells, name = self._named(self.model_remove, line, "model_remove")
        with shown_plainly():
            from llmspell_jupyter.runtime import model_texts

            print(model_texts.removed(name, cells.models.remove(name)))

    @magic_arguments()
    @argument("--dry-run", action="store_true", help="only show it")
    @line_magic
    def model_gc(self, line: str) -> None:
        """Delete files that no model needs, such as downloads that nobody went on with."""
        arguments = parsed(self.model_gc, line)
        cells = self._cells()
        with shown_plainly():
            from llmspell_jupyter.runtime import model_texts

            found = cells.models.gc(dry_run=arguments.dry_run)
            print(model_texts.garbage(found, dry_run=arguments.dry_run, command="%model_gc"))

    @magic_arguments()
    @argument("models", nargs="*", help="models; without any, those that this notebook used")
    @argument("--check", action="store_true", help="compare with the file instead")
    @line_magic
    def model_lock(self, line: str) -> None:
        """Write which models a notebook used into llmspell.lock beside it, byte for byte.

        %model_pull --locked restores them elsewhere.
        """
        arguments = parsed(self.model_lock, line)
        cells = self._cells()
        with shown_plainly():
            from llmspell_jupyter.models import lock
            from llmspell_jupyter.runtime import model_texts

            file = Path.cwd() / lock.NAME
            if arguments.check:
                notes = cells.models.check_lock(file, arguments.models)
                print(model_texts.agrees(notes, lock.NAME))
            else:
                print(model_texts.locked(cells.models.lock(arguments.models, file), lock.NAME))

    @magic_arguments()
    @argument("model", nargs="?", help="a model or a path; without it, the profile's")
    @line_magic
    def model_load(self, line: str) -> None:
        """Get a model ready before it is asked. Ctrl-C gives the load up."""
        arguments = parsed(self.model_load, line)
        cells = self._cells()
        with shown_plainly():
            print(cells.load_model(arguments.model))

    @magic_arguments()
    @argument("model", help="a model or a path")
    @argument("--force", action="store_true", help="also while it works")
    @line_magic
    def model_unload(self, line: str) -> None:
        """End the processes that hold a model; their memory is free afterwards."""
        arguments = parsed(self.model_unload, line)
        cells = self._cells()
        with shown_plainly():
            print(cells.unload_model(arguments.model, force=arguments.force))

    def _named(self, magic: Any, line: str, name: str) -> tuple[Cells, str]:
        """What stands behind the magics, and the model that a line names."""
        model = parsed(magic, line).model
        with shown_plainly():
            if not model:
                raise RequestError(
                    f"%{name} needs the name of a model.",
                    hint=f"To see those of this machine, type: %model_list\nThen: %{name} MODEL",
                )
        return self._cells(), model

    def _pull_locked(self, cells: Cells, arguments: Any, limit: int, again: str) -> None:
        from llmspell_jupyter.models import lock
        from llmspell_jupyter.runtime import model_texts

        file = Path.cwd() / lock.NAME
        names = [arguments.model] if arguments.model else []
        if arguments.quantization or arguments.revision:
            raise RequestError(
                f"With --locked, {lock.NAME} says which files of which commit are taken.",
                hint=" ".join(["Leave -q and --revision out:", "%model_pull", *names, "--locked"]),
            )
        force = arguments.force
        for request in cells.models.locked(file, names, force=force, bytes_per_second=limit):
            self._fetch(cells, request, again, background=arguments.background)
        if not arguments.background:
            notes = cells.models.check_lock(file, names, fetched=True)
            print(model_texts.agrees(notes, lock.NAME))

    def _fetch(self, cells: Cells, request: PullRequest, again: str, *, background: bool) -> None:
        from llmspell_jupyter.runtime import model_texts

        def line(done: PullProgress) -> str:
            return model_texts.pulled(done, plain=cells.is_plain())

        if background:
            job = cells.models.pull_in_background(request)
            watched = again.replace(" --background", "")
            print(model_texts.left(request.model, job, watched))
            return
        with cells.pulls.ending_with(line):
            self._wait(cells, cells.models.pull(request), again)

    def _wait(self, cells: Cells, pull: Pull, again: str) -> None:
        try:
            cells.models.finish(pull)
        except (KeyboardInterrupt, Interrupted):
            raise Interrupted(
                "Stopped; what has come is kept.", hint=f"The same line goes on: {again}"
            ) from None
