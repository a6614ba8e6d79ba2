"""GGUF models through llama.cpp's batch interface."""

from __future__ import annotations

import contextlib
import functools
import os
import secrets
from collections import deque
from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Any, ClassVar, Self

from llmspell_jupyter.engine.backend import Backend, Event, Failed, Finished, Reading, Token
from llmspell_jupyter.engine.cores import usable_cores
from llmspell_jupyter.engine.limits import check_options, check_request, overflow
from llmspell_jupyter.engine.llama_load import (
    NativeLog,
    chat_template,
    context_size,
    install_line,
    load_model,
    metadata,
    not_a_language_model,
)
from llmspell_jupyter.engine.llama_native import Batch, Vocabulary, new_sampler
from llmspell_jupyter.engine.sequence import Sequence, Share
from llmspell_jupyter.engine.text import TextAssembler
from llmspell_jupyter.errors import BackendMissing, EngineError, RequestError
from llmspell_jupyter.types import FinishReason, GenerationRequest, LoadOptions, ModelInfo

# What llama_decode answers when the abort callback said so.
_ABORTED = 2

# While others answer, a prompt is read in slices this small so that their text keeps flowing.
_SLICE_BESIDE_ANSWERS = 64


class LlamaCpp(Backend):
    """A GGUF model on the CPU.

    All requests share one context. A step decodes one batch: a token for each request that is
    being answered and a slice of one prompt that is being read. Requests beyond
    ``max_sequences``, or beyond the room left in the context, wait inside.
    """

    name: ClassVar[str] = "llama_cpp"

    #: Requests decoded together. More than one would cost nothing and be faster in sum, but
    #: llama.cpp's results then depend on what else is in the batch, and a greedy answer with them.
    max_sequences: ClassVar[int] = 1

    def __init__(self, lib: Any, model: Any, info: ModelInfo, options: LoadOptions):
        self._lib = lib
        self._info = info
        self._model = model
        self._vocabulary = Vocabulary(lib, model)
        self._trained: int = lib.llama_model_n_ctx_train(model)
        self._context_size = context_size(lib, model, info, options)
        self._threads_batch = options.cpu_threads or usable_cores()
        # One core stays free: llama.cpp's threads spin, and slow down to a tenth when one of
        # them has to wait for a core.
        self._threads = max(1, self._threads_batch - 1)
        self._batch = Batch(
            lib, max(self.max_sequences, min(options.batch_size, self._context_size))
        )
        self._context = self._new_context()
        self._memory = lib.llama_get_memory(self._context)
        self._template = chat_template(lib, model, self._vocabulary)
        self._abort = lib.ggml_abort_callback(self._reader_stopped)
        self._no_abort = lib.ggml_abort_callback()
        self._reader: Sequence | None = None
        self._waiting: deque[Sequence] = deque()
        self._sequences: dict[int, Sequence] = {}
        self._closed = False

    @classmethod
    def load(cls, model: ModelInfo, options: LoadOptions) -> Self:
        """Load a GGUF file, memory-mapped.

        A ``context_size`` above what the model was trained for is lowered to that, because the
        usual default is above it for some models; ``describe`` tells the size in use.
        """
        check_options(options)
        lib, log = _library()
        handle = load_model(lib, log, model)
        try:
            return cls(lib, handle, model, options)
        except Exception:
            lib.llama_model_free(handle)
            raise

    @classmethod
    def repair_line(cls) -> str:
        """Command that installs or rebuilds llama-cpp-python for this interpreter."""
        return install_line()

    def describe(self) -> dict[str, Any]:
        """Facts for metadata, with ``threads`` for answering and ``threads_batch`` for reading."""
        return {
            "engine_backend": self.name,
            "engine_backend_version": self._lib.__version__,
            "device": "cpu",
            "architecture": self._info.architecture
            or metadata(self._lib, self._model, "general.architecture"),
            "quantization": self._info.quantization,
            "context_size": self._context_size,
            "threads": self._threads,
            "threads_batch": self._threads_batch,
        }

    def start(
        self, request_id: str, request: GenerationRequest, stopped: Callable[[], bool]
    ) -> None:
        """Admit a request; it is tokenized here and read in the steps that follow."""
        started = perf_counter()
        check_request(request)
        prompt = self._tokens(request)
        if len(prompt) > self._context_size:
            raise overflow(len(prompt), self._context_size, self._trained)
        # The last token of an answer is never decoded, so it needs no place in the context.
        most = min(request.max_tokens, self._context_size - len(prompt) + 1)
        sampling = request.sampling
        seed = secrets.randbelow(2**32 - 1) if sampling.seed is None else sampling.seed
        sampler = new_sampler(self._lib, self._vocabulary, sampling, seed, self._context_size)
        text = TextAssembler(request.stop)
        self._waiting.append(
            Sequence(request_id, stopped, prompt, most, seed, sampler, text, started)
        )

    @property
    def active(self) -> int:
        """Number of requests admitted and not finished."""
        return len(self._waiting) + len(self._sequences)

    def step(self) -> list[Event]:
        """Decode one batch, and sample from it."""
        events = self._end_stopped()
        if self._waiting:
            self._seat_waiting()
        shares = self._fill_batch()
        return events + self._decode(shares) if shares else events

    def close(self) -> None:
        """Give back native memory; requests that are still active end without an event."""
        if self._closed:
            return
        self._closed = True
        for sequence in (*self._waiting, *self._sequences.values()):
            self._lib.llama_sampler_free(sequence.sampler)
        self._waiting.clear()
        self._sequences.clear()
        self._lib.llama_batch_free(self._batch.handle)
        self._lib.llama_free(self._context)
        self._lib.llama_model_free(self._model)

    def _new_context(self) -> Any:
        lib = self._lib
        params = lib.llama_context_default_params()
        params.n_ctx = self._context_size
        params.n_batch = self._batch.capacity
        params.n_ubatch = min(512, self._batch.capacity)
        params.n_seq_max = self.max_sequences
        params.kv_unified = True
        params.n_threads = self._threads
        params.n_threads_batch = self._threads_batch
        # A library that was built for a GPU would otherwise use it for parts of the work.
        params.offload_kqv = params.op_offload = False
        context = lib.llama_init_from_model(self._model, params)
        if context is None:
            raise EngineError(
                f"llama.cpp could not set up {self._context_size} tokens of context for "
                f"{self._info.id}: {_library()[1].take_errors() or 'it does not say why'}",
                hint="Try a smaller context_size, or close other programs to free memory.",
            )
        if lib.llama_get_memory(context) is None:
            lib.llama_free(context)
            raise not_a_language_model(self._info, "it has no memory for a text to go on")
        return context

    def _tokens(self, request: GenerationRequest) -> list[int]:
        if request.prompt is not None:
            return self._vocabulary.prompt(request.prompt)
        if self._template is None:
            raise RequestError(
                f"{self._info.id} has no chat template, so it cannot take messages.",
                hint="Give it a plain prompt; it is a model that continues text.",
                data={"field": "messages"},
            )
        tokens = self._vocabulary.tokenize(self._template.render(request.messages or ()))
        if not tokens:
            raise RequestError("The model's chat template made an empty prompt.")
        return tokens

    def _end_stopped(self) -> list[Event]:
        stopped = [each for each in (*self._waiting, *self._sequences.values()) if each.stopped()]
        return [self._finish(each, "cancelled") for each in stopped]

    def _seat_waiting(self) -> None:
        room = self._context_size - sum(each.reserved for each in self._sequences.values())
        while self._waiting and len(self._sequences) < self.max_sequences:
            sequence = self._waiting[0]
            if sequence.reserved > room:
                return
            room -= sequence.reserved
            self._waiting.popleft()
            sequence.id = next(i for i in range(self.max_sequences) if i not in self._sequences)
            self._sequences[sequence.id] = sequence

    def _fill_batch(self) -> list[Share]:
        batch = self._batch
        batch.clear()
        shares = []
        for sequence in self._sequences.values():
            if sequence.answering:
                row = batch.add(sequence.last, sequence.position, sequence.id, output=True)
                shares.append(Share(sequence, 1, row))
        self._reader = next((s for s in self._sequences.values() if not s.answering), None)
        if self._reader is not None:
            room = batch.capacity - batch.size
            shares.append(
                self._add_slice(self._reader, min(room, _SLICE_BESIDE_ANSWERS) if shares else room)
            )
        return shares

    def _add_slice(self, reader: Sequence, most: int) -> Share:
        begin = reader.position
        end = min(begin + most, len(reader.prompt))
        row = -1
        for position in range(begin, end):
            last = position == len(reader.prompt) - 1
            row = self._batch.add(reader.prompt[position], position, reader.id, output=last)
        return Share(reader, end - begin, row)

    def _decode(self, shares: list[Share]) -> list[Event]:
        began = perf_counter()
        with self._reading() if self._reader else contextlib.nullcontext():
            code = self._lib.llama_decode(self._context, self._batch.handle)
        if self._reader is not None:
            self._reader.prompt_seconds += perf_counter() - began
        if code == _ABORTED:
            return self._undo(shares)
        if code:
            return [self._fail(each.sequence, f"llama_decode returned {code}") for each in shares]
        return [event for share in shares for event in self._advance(share)]

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        """Threads for a prompt, and the abort callback, which would slow down answering."""
        lib, context = self._lib, self._context
        lib.llama_set_n_threads(context, self._threads_batch, self._threads_batch)
        lib.llama_set_abort_callback(context, self._abort, None)
        try:
            yield
        finally:
            lib.llama_set_abort_callback(context, self._no_abort, None)
            # A batch of several answers counts as a prompt for llama.cpp, so both are set.
            lib.llama_set_n_threads(context, self._threads, self._threads)

    def _reader_stopped(self, _: Any) -> bool:
        return self._reader is not None and self._reader.stopped()

    def _undo(self, shares: list[Share]) -> list[Event]:
        """Take the aborted batch back: parts of it may have reached the memory."""
        events = self._end_stopped()
        for sequence in (share.sequence for share in shares):
            if sequence.id in self._sequences and not self._lib.llama_memory_seq_rm(
                self._memory, sequence.id, sequence.position, -1
            ):
                events.append(self._fail(sequence, "a request beside it was cancelled"))
        return events

    def _advance(self, share: Share) -> list[Event]:
        sequence = share.sequence
        events: list[Event] = []
        if not sequence.answering:
            done, total = sequence.position + share.count, len(sequence.prompt)
            events.append(Reading(sequence.request_id, done, total))
        sequence.position += share.count
        if sequence.position < len(sequence.prompt):
            return events
        token = self._lib.llama_sampler_sample(sequence.sampler, self._context, share.row)
        sequence.sampled()
        if self._lib.llama_vocab_is_eog(self._vocabulary.handle, token):
            return [*events, self._finish(sequence, "stop")]
        sequence.last = token
        sequence.tokens += 1
        text = sequence.text.push(self._vocabulary.piece(token))
        events.append(Token(sequence.request_id, text, sequence.tokens))
        if sequence.text.stopped:
            events.append(self._finish(sequence, "stop"))
        elif sequence.tokens == sequence.max_tokens:
            events.append(self._finish(sequence, "length"))
        return events

    def _finish(self, sequence: Sequence, reason: FinishReason) -> Finished:
        self._release(sequence)
        return Finished(sequence.request_id, reason, sequence.text.finish(), sequence.usage())

    def _fail(self, sequence: Sequence, cause: str) -> Failed:
        self._release(sequence)
        error = EngineError(f"llama.cpp could not go on: {cause}.", hint="Run the cell again.")
        return Failed(sequence.request_id, error)

    def _release(self, sequence: Sequence) -> None:
        self._lib.llama_sampler_free(sequence.sampler)
        if sequence.id < 0:
            self._waiting.remove(sequence)
            return
        del self._sequences[sequence.id]
        # Removing a whole sequence never fails.
        self._lib.llama_memory_seq_rm(self._memory, sequence.id, -1, -1)


@functools.cache
def _library() -> tuple[Any, NativeLog]:
    """The library, imported at first use and told where to log."""
    # On an abort ggml would fork children to print a backtrace, which outlive this process.
    os.environ["GGML_NO_BACKTRACE"] = "1"
    try:
        import llama_cpp
    except (ImportError, OSError, RuntimeError) as error:
        # It raises RuntimeError or FileNotFoundError when its native part is broken or absent.
        raise BackendMissing(
            f"llama-cpp-python, which runs GGUF models, cannot be imported: {error}",
            hint=f"Type in a terminal: {install_line()}",
            data={"install": install_line()},
        ) from error
    lib: Any = llama_cpp
    log = NativeLog(lib)
    lib.llama_backend_init()
    return lib, log


BACKEND = LlamaCpp
