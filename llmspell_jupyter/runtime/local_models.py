"""Models on this machine, without an agent: load, unload, count, embed."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from llmspell_jupyter.engine.client import Generation, Part
from llmspell_jupyter.errors import Interrupted
from llmspell_jupyter.providers import Provider, named
from llmspell_jupyter.providers.local import Local
from llmspell_jupyter.types import Embeddings, Message, ModelInfo, Ready, Tokens

if TYPE_CHECKING:
    from llmspell_jupyter.runtime.runtime import Runtime

_T = TypeVar("_T")


class LocalModels:
    """What scripts, magics and the command do with models; options are those of the provider.

    Every model is named as in ``Agent.builder():model()``; None is the profile's default.

    Raises:
        LLMSpellError: From each method, when the model or the engine cannot.
        Interrupted: From each method, when it is stopped.
    """

    def __init__(self, runtime: Runtime):
        self._runtime = runtime

    def installed(self) -> list[ModelInfo]:
        """Models on this machine, in the folders of the profile first."""
        local = [each for each in self._runtime.providers.values() if isinstance(each, Local)]
        return local[0].models() if local else self._runtime.engine.models()

    @contextmanager
    def loading(self, name: str | None) -> Iterator[Iterator[Part]]:
        """The progress of a load, shown meanwhile; leaving the block early gives the load up."""
        provider, model = self._place(name)
        with self._runtime.watching(provider.load(model), model) as parts:
            yield parts

    def load(self, name: str | None) -> Ready:
        """Get a model ready."""
        with self.loading(name) as parts:
            return last(parts, Ready)

    def unload(self, name: str, *, force: bool = False) -> int:
        """End the processes that hold a model; how many there were."""
        return self._runtime.engine.unload(named(name)[1], force=force)

    def count(self, said: str | Sequence[Message], name: str | None) -> Tokens:
        """The tokens of a text, or of a conversation as the model reads it."""
        provider, model = self._place(name)
        return self._wait(provider.tokenize(model, said), model, Tokens)

    def embed(self, texts: Sequence[str], name: str | None) -> Embeddings:
        """A vector for each text."""
        provider, model = self._place(name)
        return self._wait(provider.embed(model, texts), model, Embeddings)

    def _wait(self, work: Generation, model: str, kind: type[_T]) -> _T:
        with self._runtime.watching(work, model) as parts:
            return last(parts, kind)

    def _place(self, name: str | None) -> tuple[Provider, str]:
        return self._runtime.place(*((None, None) if name is None else named(name)))


def last(parts: Iterator[Part], kind: type[_T]) -> _T:
    """The result at the end of the parts.

    Raises:
        Interrupted: There is none, because the work was stopped.
    """
    found = next(iter(deque(parts, maxlen=1)), None)
    if not isinstance(found, kind):
        raise Interrupted("Stopped while it waited for the engine.")
    return found
