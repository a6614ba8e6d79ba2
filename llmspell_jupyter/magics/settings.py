"""Settings through IPython: ``c.LLMSpell`` in its configuration files, ``%config LLMSpell``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from traitlets import Unicode, observe
from traitlets.config import Configurable

from llmspell_jupyter.errors import LLMSpellError
from llmspell_jupyter.magics.errors import shown_plainly

if TYPE_CHECKING:
    from llmspell_jupyter.runtime.runtime import Runtime


class LLMSpell(Configurable):
    """Profile or configuration file of notebooks. Setting one clears the other.

    What an administrator fixes is not here: it stands in ``llmspell_config.py`` of the machine.
    """

    profile = Unicode(
        "", help="Profile that a notebook starts with; empty takes the usual places."
    ).tag(config=True)
    config_file = Unicode("", help="File that a notebook starts with, instead of a profile.").tag(
        config=True
    )

    _runtime: Runtime | None = None

    def follow(self, runtime: Runtime) -> None:
        """Put into force what is set, now and whenever it is set anew."""
        self._runtime = runtime
        self._load()

    @observe("profile", "config_file")
    def _changed(self, change: Any) -> None:
        if self._runtime is not None and change["new"]:
            other = "config_file" if change["name"] == "profile" else "profile"
            self.set_trait(other, "")
            try:
                self._load()
            except LLMSpellError:
                # What is shown is what is in force.
                self.set_trait(change["name"], change["old"])
                raise

    def _load(self) -> None:
        if self._runtime is not None and (self.profile or self.config_file):
            with shown_plainly():
                self._runtime.use(self.profile or None, config_file=self.config_file or None)
