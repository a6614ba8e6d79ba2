"""GGUF models through llama.cpp's batch interface."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, ClassVar, Self

from llmspell_jupyter.engine import device
from llmspell_jupyter.engine.backend import Backend, Event, LoadProgress, Tokenized
from llmspell_jupyter.engine.backends._llama import devices
from llmspell_jupyter.engine.backends._llama.context import check_memory
from llmspell_jupyter.engine.backends._llama.embedding import Embedder
from llmspell_jupyter.engine.backends._llama.generation import Generator
from llmspell_jupyter.engine.backends._llama.library import install_line, library
from llmspell_jupyter.engine.backends._llama.model import (
    LoadedModel,
    context_size,
    load_model,
    metadata,
    only_embeds,
)
from llmspell_jupyter.engine.backends._llama.sampling import CONTROLS
from llmspell_jupyter.engine.backends._llama.vocabulary import Vocabulary
from llmspell_jupyter.engine.cores import usable_cores
from llmspell_jupyter.engine.limits import (
    OPTIONAL,
    check_embedding,
    check_options,
    check_request,
    check_tokenize,
    settled,
)
from llmspell_jupyter.errors import RequestError
from llmspell_jupyter.types import (
    EmbeddingRequest,
    LoadOptions,
    ModelInfo,
    ModelRequest,
    TokenizeRequest,
)


class LlamaCpp(Backend):
    """A GGUF model: it writes answers, makes vectors, or both."""

    name: ClassVar[str] = "llama_cpp"

    controls: ClassVar[frozenset[str]] = CONTROLS | frozenset(OPTIONAL)

    def __init__(self, model: LoadedModel):
        self._model = model
        self._generator = None if only_embeds(model.lib, model.handle) else Generator(model)
        self._embedder: Embedder | None = None
        self._tokenized: list[Event] = []
        self._closed = False

    @classmethod
    def load(cls, model: ModelInfo, options: LoadOptions, progress: LoadProgress) -> Self:
        """Load a GGUF file, memory-mapped.

        A ``context_size`` above what the model was trained for is lowered to that, because the
        usual default is above it for some models; ``describe`` tells the size in use.
        """
        check_options(options)
        check_memory(options)
        if options.dtype != "auto":
            raise RequestError(
                f"dtype {options.dtype} is not for a GGUF model: its quantization is in the file.",
                hint='Leave dtype at "auto", or take a file of another quantization.',
                data={"field": "dtype", "value": options.dtype},
            )
        lib, log = library()
        if options.max_concurrent > (most := lib.llama_max_parallel_sequences()):
            raise RequestError(
                f"max_concurrent is {options.max_concurrent}; llama.cpp writes at most {most} "
                "answers at a time.",
                data={"field": "max_concurrent", "allowed": most},
            )
        found = devices.find(lib)
        chosen = device.choose(options.device, sys.platform, devices.probe(lib, found))
        gpus = found.of(chosen.name)
        handle = load_model(lib, log, model, options.gpu_layers, gpus, progress)
        threads_batch = options.cpu_threads or usable_cores()
        try:
            return cls(
                LoadedModel(
                    lib=lib,
                    log=log,
                    handle=handle,
                    vocabulary=Vocabulary(lib, handle),
                    info=model,
                    options=options,
                    device=chosen,
                    context_size=context_size(lib, handle, model, options),
                    trained_context=lib.llama_model_n_ctx_train(handle),
                    # One core stays free: llama.cpp's threads spin, and slow down to a tenth
                    # when one of them has to wait for a core.
                    threads=max(1, threads_batch - 1),
                    threads_batch=threads_batch,
                )
            )
        except Exception:
            lib.llama_model_free(handle)
            raise

    @classmethod
    def repair_line(cls) -> str:
        """Command that installs or rebuilds llama-cpp-python for this interpreter."""
        return install_line()

    def describe(self) -> dict[str, Any]:
        """Facts for metadata, with what is in use of the load options.

        ``threads`` answer and ``threads_batch`` read; ``shared_context_size`` is that of all
        answers together. It and ``flash_attention`` are None for a model that only makes
        vectors.
        """
        model = self._model
        return {
            "engine_backend": self.name,
            "engine_backend_version": model.lib.__version__,
            **model.device.facts(),
            "architecture": model.info.architecture
            or metadata(model.lib, model.handle, "general.architecture"),
            "quantization": model.info.quantization,
            "context_size": model.context_size,
            "shared_context_size": self._generator and self._generator.shared_size,
            "batch_size": model.options.batch_size,
            "max_concurrent": model.options.max_concurrent,
            "threads": model.threads,
            "threads_batch": model.threads_batch,
            "gpu_layers": model.gpu_layers,
            "cache_type": model.options.cache_type,
            "flash_attention": self._generator and self._generator.flash_attention,
        }

    def start(self, request_id: str, request: ModelRequest, stopped: Callable[[], bool]) -> None:
        """Admit a request; it is tokenized here and read in the steps that follow."""
        if isinstance(request, TokenizeRequest):
            check_tokenize(request)
            self._tokenized.append(Tokenized(request_id, self._tokens(request)))
        elif isinstance(request, EmbeddingRequest):
            check_embedding(request)
            if self._embedder is None:
                self._embedder = Embedder(self._model)
            self._embedder.start(request_id, request, stopped)
        else:
            check_request(request, self.controls, self.name)
            sampling = settled(request.sampling, self.defaults)
            self._writer().start(request_id, request, sampling, stopped)

    def counts(self) -> dict[str, int]:
        """Decode calls for answers."""
        return self._generator.calls.to_wire() if self._generator else {}

    @property
    def active(self) -> int:
        """Number of requests admitted and not finished."""
        parts = (self._generator, self._embedder)
        return len(self._tokenized) + sum(part.active for part in parts if part is not None)

    def step(self) -> list[Event]:
        """Decode one batch of answers and one of texts to embed."""
        events, self._tokenized = self._tokenized, []
        for part in (self._generator, self._embedder):
            if part is not None and part.active:
                events += part.step()
        return events

    def close(self) -> None:
        """Give back native memory; requests that are still active end without an event."""
        if self._closed:
            return
        self._closed = True
        for part in (self._generator, self._embedder):
            if part is not None:
                part.close()
        self._model.lib.llama_model_free(self._model.handle)

    def _tokens(self, request: TokenizeRequest) -> tuple[int, ...]:
        if self._generator is None and request.prompt is not None:
            return tuple(self._model.vocabulary.plain(request.prompt))
        return tuple(self._writer().tokens(request.messages, request.prompt))

    def _writer(self) -> Generator:
        if self._generator is None:
            raise RequestError(
                f"{self._model.info.id} is an embedding model; it writes no text.",
                hint="%model_list shows the models on this machine.",
            )
        return self._generator


BACKEND = LlamaCpp
