"""The engine as other rooms see it: blocking calls and iterators, from any thread."""

from __future__ import annotations

from typing import Any, TypeVar

from llmspell_jupyter.config import paths
from llmspell_jupyter.engine import connection as connections
from llmspell_jupyter.engine import exchange, start
from llmspell_jupyter.engine.exchange import Ask
from llmspell_jupyter.engine.generation import Generation, Part
from llmspell_jupyter.engine.model_client import ModelClient
from llmspell_jupyter.engine.pull_client import Pull, cancellation
from llmspell_jupyter.errors import Interrupted
from llmspell_jupyter.types import (
    EmbeddingRequest,
    Embeddings,
    EngineRequest,
    GenerationRequest,
    LoadRequest,
    TokenizeRequest,
    Tokens,
)

__all__ = ["EngineClient", "Generation", "Part", "Pull"]

_T = TypeVar("_T")

# Ending a worker takes a second at most, and several end at a time.
_UNLOAD_SECONDS = 30.0

_SHUTDOWN_SECONDS = 5.0


class EngineClient(ModelClient):
    """Reaches this user's engine, and starts it when it is needed and absent."""

    def status(self, *, start_engine: bool = False) -> dict[str, Any] | None:
        """What the engine is doing; None when none runs. Looking is no use that keeps it alive.

        Raises:
            EngineUnavailable: There is one, but it does not answer.
        """
        if not start_engine and connections.read(paths.connection_file()) is None:
            return None

        async def ask() -> dict[str, Any] | None:
            if start_engine:
                await start.find_or_start()
            return await start.look()

        return self._wait(ask)

    def shutdown(self) -> bool:
        """Ask the engine to end; False when none runs."""
        ask = Ask("POST", "/api/shutdown", seconds=_SHUTDOWN_SECONDS)
        return self._wait(lambda: exchange.values(start.find, ask)) is not None

    def generate(self, request: GenerationRequest) -> Generation:
        """Start a generation; iterate over what is returned."""
        return self.ask(request)

    def load(self, request: LoadRequest) -> Generation:
        """Start to load a model; iterate for progress and, last, ``Ready``.

        Cancelling gives the load up, unless others wait for the same model.
        """
        return self.ask(request)

    def embed(self, request: EmbeddingRequest) -> Embeddings:
        """Turn texts into vectors."""
        return self._result(request, Embeddings)

    def tokenize(self, request: TokenizeRequest) -> Tokens:
        """Split a text into a model's tokens."""
        return self._result(request, Tokens)

    def ask(self, request: EngineRequest) -> Generation:
        """Start to answer any request; iterate for progress, chunks and, last, the result."""
        return Generation(self._ready_portal(), request)

    def unload(self, model: str, *, force: bool = False) -> int:
        """End the workers of a model; how many there were. No engine is started for it.

        Raises:
            EngineBusy: It works, and ``force`` is false.
            ModelNotFound: No such model is loaded or on this machine.
        """
        ask = Ask("POST", "/api/unload", {"model": model, "force": force}, _UNLOAD_SECONDS)
        told = self._wait(lambda: exchange.values(start.find, ask))
        return 0 if told is None else int(told["unloaded"])

    def cancel_job(self, job_id: str, *, discard: bool = False) -> bool:
        """End a job, whoever asked for it; False when it has ended already.

        Args:
            job_id: Its id.
            discard: Also throw away what has come of a pull, were it ended already; without it
                the same pull goes on from there. What Ollama's server fetched stays with it.

        Raises:
            RequestError: Something is to be thrown away of a job that nobody knows any more.
        """
        ask = cancellation(job_id, discard=discard, seconds=_UNLOAD_SECONDS)
        told = self._wait(lambda: exchange.values(start.find, ask))
        return told is not None and bool(told["cancelled"])

    def _result(self, request: EngineRequest, kind: type[_T]) -> _T:
        generation = self.ask(request)
        try:
            with self.stoppable(generation.cancel):
                for part in generation:
                    if isinstance(part, kind):
                        return part
        finally:
            generation.cancel()
        raise Interrupted("Stopped while it waited for the engine.")
