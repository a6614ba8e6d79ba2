"""Vectors of texts."""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from llmspell_jupyter.engine.backend import Embedded, Event, Failed, Finished, Reading
from llmspell_jupyter.engine.backends._llama.batch import Batch
from llmspell_jupyter.engine.backends._llama.context import FLASH_ATTENTION_OFF, new_context
from llmspell_jupyter.engine.backends._llama.model import LoadedModel, metadata, only_embeds
from llmspell_jupyter.engine.limits import overflow
from llmspell_jupyter.errors import EngineError, LLMSpellError, RequestError
from llmspell_jupyter.types import EmbeddingRequest

# What llama_decode answers when the abort callback said so.
_ABORTED = 2

# Texts that are read together at most.
_MOST_TOGETHER = 32

# Tokens that are read together at least, if there are as many.
_SMALLEST_ROOM = 512

# Up to so many tokens in a batch attention is computed exactly; beyond, its table is too large.
_LONGEST_EXACT = 2048

# As llama.h and GGUF files number them.
_NONE, _MEAN, _CLS, _LAST, _RANK = range(5)
_POOLING = {_MEAN: "mean", _CLS: "cls", _LAST: "last"}


@dataclass(slots=True, eq=False)
class _Job:
    """A request: its texts as tokens, and the vectors of those that are done."""

    request_id: str
    texts: list[list[int]]
    dimensions: int | None
    stopped: Callable[[], bool]
    started: float
    vectors: list[str] = field(default_factory=list)
    read: int = 0
    sums: dict[int, Any] = field(default_factory=dict)

    @property
    def tokens(self) -> int:
        return sum(map(len, self.texts))


@dataclass(frozen=True, slots=True)
class _Part:
    """Tokens ``begin`` to ``end`` of a text, which a batch holds from ``row`` on."""

    text: int
    begin: int
    end: int
    row: int


class Embedder:
    """Makes vectors with a loaded model, in a context of its own that is set up at first use.

    One request is worked on at a time, several of its texts in one batch. Models that look at a
    text as a whole pool by themselves, as their file says. For those that read from the left a
    long text is read in slices, and its vector is the mean over its tokens (or what the file
    says), put together here: llama.cpp would want room for all of its tokens at once.

    Args:
        model: The model.

    Raises:
        RequestError: It ranks texts instead of making vectors.
    """

    def __init__(self, model: LoadedModel):
        # A library that llama_cpp brings along; the engine's own process does without.
        import numpy

        self._numpy = numpy
        self._model = model
        self._lib = lib = model.lib
        self._whole = only_embeds(lib, model.handle)
        architecture = metadata(lib, model.handle, "general.architecture")
        said = metadata(lib, model.handle, f"{architecture}.pooling_type")
        kind = int(said) if said and said.isdigit() else _NONE
        if kind == _RANK:
            raise RequestError(f"{model.info.id} ranks texts; it makes no vectors.")
        self._pooling = kind if kind in _POOLING else _MEAN
        self._size: int = lib.llama_model_n_embd_out(model.handle)
        self._jobs: deque[_Job] = deque()
        self._room = 0
        self._sequences = 0
        self._context: Any = None
        self._batch: Batch | None = None
        self._abort = lib.ggml_abort_callback(
            lambda _: bool(self._jobs) and self._jobs[0].stopped()
        )

    @property
    def active(self) -> int:
        """Number of requests admitted and not finished."""
        return len(self._jobs)

    def start(
        self, request_id: str, request: EmbeddingRequest, stopped: Callable[[], bool]
    ) -> None:
        """Admit a checked request; its texts are tokenized here.

        Raises:
            RequestError: A text is empty for this model, or ``dimensions`` is more than it has.
            ContextOverflow: A text does not fit.
        """
        started = perf_counter()
        if request.dimensions is not None and request.dimensions > self._size:
            raise RequestError(
                f"dimensions is {request.dimensions}; vectors of this model have {self._size}.",
                data={"field": "dimensions", "allowed": self._size},
            )
        texts = [self._tokens(number, text) for number, text in enumerate(request.texts)]
        self._jobs.append(_Job(request_id, texts, request.dimensions, stopped, started))

    def step(self) -> list[Event]:
        """Read one batch of the first request."""
        job = self._jobs[0]
        if job.stopped():
            return [self._cancelled(job)]
        try:
            self._make_room(max(map(len, job.texts)))
            return self._advance(job)
        except LLMSpellError as error:
            self._jobs.popleft()
            return [Failed(job.request_id, error)]

    def close(self) -> None:
        """Give back native memory; requests that are still active end without an event."""
        self._jobs.clear()
        if self._batch is not None:
            self._lib.llama_batch_free(self._batch.handle)
            self._lib.llama_free(self._context)
            self._batch = self._context = None

    def _reader_stopped(self, _: Any) -> bool:
        return bool(self._jobs) and self._jobs[0].stopped()

    def _tokens(self, number: int, text: str) -> list[int]:
        tokens = self._model.vocabulary.plain(text)
        if not tokens:
            raise RequestError(f"input[{number}] is empty.", data={"field": f"input[{number}]"})
        most = self._model.context_size
        if len(tokens) > most:
            parts = {"system": 0, "history": 0, "tools": 0, "prompt": len(tokens), "template": 0}
            raise overflow(len(tokens), most, self._model.trained_context, parts)
        return tokens

    def _make_room(self, longest: int) -> None:
        """See to it that a text of so many tokens can be read."""
        if longest <= self._room:
            return
        jobs, self._jobs = self._jobs, deque()
        self.close()
        self._jobs = jobs
        room = max(_SMALLEST_ROOM, 1 << (longest - 1).bit_length())
        together = room if self._whole else min(self._model.options.batch_size, room)
        # llama.cpp ends the process over more sequences than a batch has tokens.
        self._sequences = min(_MOST_TOGETHER, together)
        # So that a text has the same vector whatever is read beside it.
        exact: dict[str, Any] = {
            "type_k": self._lib.GGML_TYPE_F32,
            "type_v": self._lib.GGML_TYPE_F32,
        }
        if together <= _LONGEST_EXACT:
            exact["flash_attn_type"] = FLASH_ATTENTION_OFF
        self._context = new_context(
            self._model,
            # Beside a text that is half read there are others in a batch.
            n_ctx=room if self._whole else room + together,
            n_batch=together,
            n_ubatch=together,
            n_seq_max=self._sequences,
            n_threads=self._model.threads_batch,
            n_threads_batch=self._model.threads_batch,
            embeddings=True,
            pooling_type=self._pooling if self._whole else _NONE,
            abort_callback=self._abort,
            **exact,
        )
        self._batch = Batch(self._lib, together)
        self._room = room

    def _advance(self, job: _Job) -> list[Event]:
        assert self._batch is not None
        parts = self._fill(self._batch, job)
        code = self._lib.llama_decode(self._context, self._batch.handle)
        if code == _ABORTED:
            self._forget()
            return [self._cancelled(job)]
        if code:
            self._forget()
            raise EngineError(
                f"llama.cpp could not go on: llama_decode returned {code}.",
                hint="Run the cell again.",
            )
        for part in parts:
            self._collect(job, part)
        job.read += self._batch.size
        reading = Reading(job.request_id, job.read, job.tokens)
        if len(job.vectors) < len(job.texts):
            return [reading]
        self._jobs.popleft()
        usage = {
            "prompt_tokens": job.tokens,
            "completion_tokens": 0,
            "cached_tokens": 0,
            "prompt_ms": (perf_counter() - job.started) * 1000,
            "pooling": _POOLING[self._pooling],
        }
        return [reading, Embedded(job.request_id, tuple(job.vectors), usage)]

    def _fill(self, batch: Batch, job: _Job) -> list[_Part]:
        """The text that is half read, and as many of the next as there is room for."""
        batch.clear()
        parts: list[_Part] = []
        number = len(job.vectors)
        begin = job.read - sum(map(len, job.texts[:number]))
        while number < len(job.texts) and len(parts) < self._sequences:
            tokens = job.texts[number]
            end = min(len(tokens), begin + batch.capacity - batch.size)
            if end == begin or (self._whole and end < len(tokens)):
                break
            parts.append(_Part(number, begin, end, batch.size))
            for place in range(begin, end):
                batch.add(tokens[place], place, number % self._sequences, output=True)
            number, begin = number + 1, 0
        return parts

    def _collect(self, job: _Job, part: _Part) -> None:
        done = part.end == len(job.texts[part.text])
        sequence = part.text % self._sequences
        if self._whole:
            pointer = self._lib.llama_get_embeddings_seq(self._context, sequence)
            vector = self._numpy.ctypeslib.as_array(pointer, (self._size,)).astype("f8")
        else:
            rows = self._rows(part)
            vector = job.sums.pop(part.text, 0.0) + self._pool(part, rows, done)
            if not done:
                job.sums[part.text] = vector
                return
            memory = self._lib.llama_get_memory(self._context)
            self._lib.llama_memory_seq_rm(memory, sequence, -1, -1)
        job.vectors.append(_packed(self._numpy, vector[: job.dimensions]))

    def _rows(self, part: _Part) -> Iterator[Any]:
        for row in range(part.row, part.row + part.end - part.begin):
            pointer = self._lib.llama_get_embeddings_ith(self._context, row)
            yield self._numpy.ctypeslib.as_array(pointer, (self._size,)).astype("f8")

    def _pool(self, part: _Part, rows: Iterator[Any], done: bool) -> Any:
        """A part's share of its text's vector; the length of the sum does not matter."""
        vectors = list(rows)
        if self._pooling == _LAST:
            return vectors[-1] if done else 0.0
        if self._pooling == _CLS:
            return vectors[0] if part.begin == 0 else 0.0
        return sum(vectors)

    def _forget(self) -> None:
        memory = self._lib.llama_get_memory(self._context)
        if memory is not None:
            self._lib.llama_memory_clear(memory, True)

    def _cancelled(self, job: _Job) -> Finished:
        if self._context is not None:
            self._forget()
        self._jobs.popleft()
        return Finished(job.request_id, "cancelled", "", {"prompt_tokens": job.tokens})


def _packed(numpy: Any, vector: Any) -> str:
    length = float(numpy.linalg.norm(vector))
    if not length > 0 or not numpy.isfinite(length):
        raise EngineError("The model made a vector without a length; its weights may be damaged.")
    return base64.b64encode((vector / length).astype("<f4").tobytes()).decode()
