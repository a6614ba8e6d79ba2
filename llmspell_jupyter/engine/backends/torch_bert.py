"""Vectors of texts by encoder models of the BERT family, on torch."""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, ClassVar, Self

from llmspell_jupyter.engine import versions
from llmspell_jupyter.engine.backend import (
    Backend,
    Embedded,
    Event,
    Failed,
    Finished,
    LoadProgress,
    Reading,
    Tokenized,
)
from llmspell_jupyter.engine.backends._torch import library
from llmspell_jupyter.engine.backends._torch.failures import could_not_go_on
from llmspell_jupyter.engine.backends._torch.numbers import number_type, quantization
from llmspell_jupyter.engine.backends._torch.pooling import Pooling, read_pooling
from llmspell_jupyter.engine.backends._torch.pretrained import build
from llmspell_jupyter.engine.backends._torch.tokenizer import Tokenizer, read_tokenizer
from llmspell_jupyter.engine.cores import usable_cores
from llmspell_jupyter.engine.device import Device
from llmspell_jupyter.engine.limits import (
    check_embedding,
    check_options,
    check_tokenize,
    ledger,
    overflow,
)
from llmspell_jupyter.errors import ContextOverflow, EngineError, RequestError
from llmspell_jupyter.models.folder import ModelFolder, inspect_folder
from llmspell_jupyter.types import (
    EmbeddingRequest,
    LoadOptions,
    ModelInfo,
    ModelRequest,
    TokenizeRequest,
)

# Texts that are tokenized before it is asked whether somebody still wants them.
_TEXTS_AT_A_TIME = 64


class TorchBert(Backend):
    """An encoder model whose token vectors are pooled to one for each text.

    A step computes one batch of one request: texts of like length, ``batch_size`` tokens or one
    text. Several requests take turns.
    """

    name: ClassVar[str] = "torch"

    controls: ClassVar[frozenset[str]] = frozenset()

    def __init__(
        self, model: Any, folder: ModelFolder, info: ModelInfo, options: LoadOptions, device: Device
    ):
        self._model = model
        self._info = info
        self._folder = folder
        self._device = device
        self._native = library.native(device)
        self._tokenizer: Tokenizer = read_tokenizer(folder)
        self._pooling: Pooling = read_pooling(folder)
        self._longest = _longest(model)
        self._context_size = min(options.context_size or self._longest, self._longest)
        self._batch_size = options.batch_size
        self._width: int = model.config.hidden_size * len(self._pooling.modes)
        self._pad: int = model.config.pad_token_id or 0
        trained = folder.json("sentence_bert_config.json") or {}
        self._lower_case = trained.get("do_lower_case") is True
        self._trained_length = trained.get("max_seq_length")
        self._answered: list[Event] = []
        self._jobs: deque[_Job] = deque()

    @classmethod
    def load(cls, model: ModelInfo, options: LoadOptions, progress: LoadProgress) -> Self:
        """Load a folder of safetensors, memory-mapped where it needs no conversion.

        A ``context_size`` above the model's positions is lowered to them.
        """
        check_options(options)
        versions.check("torch", "transformers")
        folder = inspect_folder(model.path)
        device = library.pick(options.device)
        native = library.native(device)
        library.torch().set_num_threads(options.cpu_threads or usable_cores())
        # Numbers of 16 bits with a longer fraction: vectors are compared, and small.
        kind = number_type(options.dtype, native, half="float16")
        return cls(build(folder, "embed", kind, native, progress), folder, model, options, device)

    @classmethod
    def repair_line(cls) -> str:
        """Command that installs torch and what goes with it for this interpreter."""
        return library.install_line()

    def describe(self) -> dict[str, Any]:
        """Facts for metadata, with ``dimensions`` of a vector, its ``pooling`` and ``threads``."""
        return {
            "engine_backend": self.name,
            "engine_backend_version": library.torch().__version__,
            **self._device.facts(),
            "architecture": self._info.architecture or self._folder.model_type,
            "quantization": quantization(self._model.dtype),
            "context_size": self._context_size,
            "threads": library.torch().get_num_threads(),
            "dimensions": self._width,
            "pooling": "+".join(self._pooling.modes),
        }

    def start(self, request_id: str, request: ModelRequest, stopped: Callable[[], bool]) -> None:
        """Admit a request; its texts are tokenized here and read in the steps that follow."""
        if isinstance(request, TokenizeRequest):
            check_tokenize(request)
            if request.prompt is None:
                raise RequestError(
                    f"{self._info.id} is an embedding model; it takes no messages.",
                    hint="Give it a plain text.",
                    data={"field": "messages"},
                )
            ids = tuple(self._tokens([request.prompt])[0])
            self._answered.append(Tokenized(request_id, ids))
            return
        if not isinstance(request, EmbeddingRequest):
            raise RequestError(
                f"{self._info.id} is an embedding model; it writes no text.",
                hint="%model_list shows the models on this machine.",
            )
        check_embedding(request)
        if request.dimensions is not None and request.dimensions > self._width:
            raise RequestError(
                f"dimensions is {request.dimensions:,}; the vectors of {self._info.id} have "
                f"{self._width:,}.",
                data={"field": "dimensions", "value": request.dimensions, "most": self._width},
            )
        job = _Job(request_id, stopped, request.dimensions or self._width)
        for begin in range(0, len(request.texts), _TEXTS_AT_A_TIME):
            if stopped():
                break
            job.texts += self._tokens(request.texts[begin : begin + _TEXTS_AT_A_TIME])
            self._check_lengths(job.texts, begin)
        job.plan(self._batch_size)
        self._jobs.append(job)

    @property
    def active(self) -> int:
        """Number of requests admitted and not finished."""
        return len(self._answered) + len(self._jobs)

    def step(self) -> Sequence[Event]:
        """Compute a batch of the request whose turn it is."""
        events, self._answered = self._answered, []
        for job in [each for each in self._jobs if each.stopped()]:
            self._jobs.remove(job)
            events.append(Finished(job.request_id, "cancelled", usage=self._usage(job)))
        if not self._jobs:
            return events
        job = self._jobs.popleft()
        try:
            self._compute(job)
        except EngineError as error:
            return [*events, Failed(job.request_id, error)]
        except Exception as error:  # A RuntimeError mostly, for want of memory.
            return [*events, Failed(job.request_id, could_not_go_on(error))]
        events.append(Reading(job.request_id, job.done, job.total))
        if job.batches:
            self._jobs.append(job)
            return events
        return [*events, Embedded(job.request_id, tuple(job.vectors), self._usage(job))]

    def _tokens(self, texts: Sequence[str]) -> list[list[int]]:
        return self._tokenizer.encode_all(
            [text.lower() for text in texts] if self._lower_case else texts
        )

    def _check_lengths(self, texts: Sequence[list[int]], begin: int) -> None:
        for index, ids in enumerate(texts[begin:], begin):
            if len(ids) > self._context_size:
                parts = ledger(None, len(ids), len)
                error = overflow(len(ids), self._context_size, self._longest, parts)
                raise ContextOverflow(
                    f"input[{index}]: {error.message}",
                    hint=error.hint,
                    data=error.data | {"index": index},
                )

    def _compute(self, job: _Job) -> None:
        lib = library.torch()
        began = perf_counter()
        batch = job.batches.popleft()
        texts = [job.texts[index] for index in batch]
        length = max(len(ids) for ids in texts)
        padded = [ids + [self._pad] * (length - len(ids)) for ids in texts]
        mask = [[1] * len(ids) + [0] * (length - len(ids)) for ids in texts]
        with lib.inference_mode():
            ids = lib.tensor(padded, device=self._native)
            attention = lib.tensor(mask, device=self._native)
            hidden = self._model(input_ids=ids, attention_mask=attention).last_hidden_state
            vectors = self._pooling(hidden, attention)[:, : job.dimensions]
            vectors = lib.nn.functional.normalize(vectors, dim=-1).cpu()
        if not bool(vectors.isfinite().all()):
            raise EngineError(
                f"{self._info.id} gave a vector that holds no numbers.",
                hint="Its weights may be damaged, or too large for the dtype in use.",
            )
        for index, vector in zip(batch, vectors.numpy().astype("<f4"), strict=True):
            job.vectors[index] = base64.b64encode(vector.tobytes()).decode()
        job.done += sum(len(ids) for ids in texts)
        job.seconds += perf_counter() - began

    def _usage(self, job: _Job) -> dict[str, Any]:
        usage = {
            "prompt_tokens": job.total,
            "completion_tokens": 0,
            "cached_tokens": 0,
            "prompt_ms": job.seconds * 1000,
            "tokens_per_second": job.done / job.seconds if job.seconds else None,
        }
        # Longer texts are taken whole; their vectors may be less good.
        known = isinstance(self._trained_length, int)
        return usage | ({"trained_length": self._trained_length} if known else {})


@dataclass(slots=True, eq=False)
class _Job:
    """An embedding request between two steps.

    Attributes:
        request_id: Names the request in events.
        stopped: True once the request is cancelled.
        dimensions: Length of its vectors.
        texts: Tokens of each text.
        batches: Places of the texts that are computed together, those still to do.
        vectors: One for each text, as ``Embedded`` holds them; empty until it is computed.
        done: Tokens read.
        total: Tokens in all.
        seconds: Time spent on them.
    """

    request_id: str
    stopped: Callable[[], bool]
    dimensions: int
    texts: list[list[int]] = field(default_factory=list)
    batches: deque[list[int]] = field(default_factory=deque)
    vectors: list[str] = field(default_factory=list)
    done: int = 0
    total: int = 0
    seconds: float = 0.0

    def plan(self, batch_size: int) -> None:
        """Put texts of like length together, ``batch_size`` tokens of them or one text."""
        self.vectors = [""] * len(self.texts)
        self.total = sum(len(ids) for ids in self.texts)
        batch: list[int] = []
        # The longest first: memory that is short is short at once.
        for index in sorted(range(len(self.texts)), key=lambda index: -len(self.texts[index])):
            if batch and (len(batch) + 1) * len(self.texts[batch[0]]) > batch_size:
                self.batches.append(batch)
                batch = []
            batch.append(index)
        if batch:
            self.batches.append(batch)


def _longest(model: Any) -> int:
    """Tokens of the longest text that the model has positions for."""
    positions: int = model.config.max_position_embeddings
    # RoBERTa and its like count positions from behind that of the padding.
    padding = getattr(getattr(model, "embeddings", None), "padding_idx", None)
    return positions if padding is None else positions - padding - 1


BACKEND = TorchBert
