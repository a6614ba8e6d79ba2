"""Where the browser's models come from: the notebook's runtime, asked from any thread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from llmspell_jupyter.models import catalog, store
from llmspell_jupyter.models.catalog import CatalogModel
from llmspell_jupyter.providers import named
from llmspell_jupyter.runtime.local_models import LocalModels
from llmspell_jupyter.types import Availability, AvailableModel, ModelInfo
from llmspell_jupyter.widgets import judgement
from llmspell_jupyter.widgets.judgement import Judgement

if TYPE_CHECKING:
    from llmspell_jupyter.engine.client import Generation, Pull
    from llmspell_jupyter.runtime.runtime import Runtime


class Source:
    """The models of one notebook.

    Raises:
        LLMSpellError: From each method, when the model or the engine cannot.
    """

    def __init__(self, runtime: Runtime):
        self._runtime = runtime
        self._models = LocalModels(runtime)

    def known(self) -> Sequence[AvailableModel]:
        """Models of the catalog, at once: no engine and no server is asked."""
        return [_offer(each) for each in catalog.models(self._models.lookup).values()]

    def here(self) -> Sequence[ModelInfo]:
        """Models on this machine as the kernel finds them, at once, too."""
        return store.installed(lookup=self._models.lookup)

    def installed(self) -> Sequence[ModelInfo]:
        """Models on this machine as the engine finds them, which may know further folders.

        It is started if need be.
        """
        return self._models.installed()

    def seen(self) -> Sequence[ModelInfo]:
        """The same where an engine runs, else as the kernel finds them; none is started."""
        runs = self._runtime.engine.status() is not None
        return self.installed() if runs else self.here()

    def available(self, search: str) -> Availability:
        """Models that can be had; a search asks the hub for these words, too."""
        return self._models.available(None, search)

    def loaded(self) -> Mapping[str, str]:
        """State of each model that has a process, by its name in lower case."""
        status = self._runtime.engine.status() or {}
        found = [each for each in status.get("workers", ()) if each["state"] in _ALIVE]
        return {each["model"].lower(): each["state"] for each in found}

    def pulls(self) -> Sequence[Mapping[str, Any]]:
        """Pulls that run already, whoever began them: ``{id, model, ...}`` of each."""
        return [each for each in self._models.jobs() if each["kind"] == "pull"]

    def pull(self, name: str) -> Pull:
        """Begin to fetch a model."""
        return self._models.pull(name)

    def follow(self, job: str) -> Pull:
        """Watch a pull that runs already."""
        return self._models.follow(job)

    def load(self, name: str) -> Generation:
        """Begin to load a model; unlike a magic's, its progress is shown nowhere else."""
        provider, model = self._runtime.place(*named(name))
        return provider.load(model)

    def unload(self, name: str) -> int:
        """End the processes that hold a model."""
        return self._models.unload(name)

    def remove(self, name: str) -> int:
        """Delete a model; the bytes that are free now."""
        return self._models.remove(name)

    def fit(self, name: str) -> Judgement:
        """Whether a model fits into this machine."""
        return judgement.of(self._models.fit(name))


_ALIVE = frozenset({"ready", "loading"})


def _offer(model: CatalogModel) -> AvailableModel:
    usual = [model.quantization] if model.quantization else []
    return AvailableModel(
        id=model.name,
        backend="candle",
        origin="catalog",
        title=model.title,
        repository=model.repository,
        quantizations=tuple(dict.fromkeys([*usual, *model.files])),
        size_bytes=model.size_bytes(),
        parameter_count=model.parameter_count,
        license=model.license,
        context_length=model.context_length,
        architecture=model.architecture,
        tasks=model.tasks,
        gated=model.gated,
    )
