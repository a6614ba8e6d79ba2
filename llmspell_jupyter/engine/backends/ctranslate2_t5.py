"""T5 on a CPU through CTranslate2, in 8-bit integers: the fast lane beside torch."""

from __future__ import annotations

import platform
import queue
import secrets
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, ClassVar, Self

from llmspell_jupyter.engine.backend import (
    Backend,
    Event,
    Failed,
    Finished,
    LoadProgress,
    Reading,
    Token,
    Tokenized,
)
from llmspell_jupyter.engine.backends._ctranslate2 import gpu
from llmspell_jupyter.engine.backends._ctranslate2.copies import Copy, copy_of, lack_of_room
from llmspell_jupyter.engine.backends._ctranslate2.library import (
    absence,
    ctranslate2,
    install_line,
    token_name,
)
from llmspell_jupyter.engine.backends._t5.config import T5Config, read_config
from llmspell_jupyter.engine.backends._t5.prompt import prompt_text, prompt_tokens, unread
from llmspell_jupyter.engine.backends._t5.tensors import check_tensors
from llmspell_jupyter.engine.backends._t5.tokenizer import Tokenizer, load_tokenizer
from llmspell_jupyter.engine.cores import usable_cores
from llmspell_jupyter.engine.device import Probe, choose
from llmspell_jupyter.engine.limits import (
    check_options,
    check_request,
    check_tokenize,
    lacks,
    settled,
)
from llmspell_jupyter.engine.sequence import Sequence
from llmspell_jupyter.engine.text import TextAssembler
from llmspell_jupyter.errors import BadModelFile, EngineError, RequestError
from llmspell_jupyter.models.folder import ModelFolder, inspect_folder
from llmspell_jupyter.types import (
    EmbeddingRequest,
    EngineRequest,
    FinishReason,
    GenerationRequest,
    LoadOptions,
    ModelInfo,
    ModelRequest,
    TokenizeRequest,
)

# Seconds that a step waits for a token before it looks whether somebody cancelled.
_PATIENCE = 0.02

# Of a load that converts, the share that this takes.
_CONVERTING = 0.9

# What a request is told when it asks for another device by name.
_CPU_ONLY = "the fast lane computes on the CPU"


@dataclass(slots=True, eq=False, kw_only=True)
class _Answer(Sequence):
    """A request that CTranslate2 works on.

    Attributes:
        write: Gives the bytes of its tokens.
        over: True once it is finished; asked by CTranslate2's thread after each token.
        result: CTranslate2's promise of the whole answer.
    """

    write: Callable[[int], bytes]
    over: bool = False
    result: Any = None


@dataclass(frozen=True, slots=True)
class _Drawn:
    """A token, as CTranslate2's thread hands it over.

    Attributes:
        answer: Whose token it is.
        token: Its number.
        at: When it came, ``perf_counter`` seconds.
        last: It is the last one: an end token, or ``max_tokens`` are reached.
    """

    answer: _Answer
    token: int
    at: float
    last: bool


class CTranslate2T5(Backend):
    """A T5 model on the CPU, greedy.

    CTranslate2 computes on threads of its own, which hand over token after token; a step waits
    for the next one. Requests run side by side, ``max_concurrent`` at a time, and
    do not change each other's answers.
    """

    name: ClassVar[str] = "ctranslate2"

    #: What the likeliest token does not depend on is taken and without effect.
    controls: ClassVar[frozenset[str]] = frozenset(
        {"temperature", "seed", "repeat_penalty", "repeat_last_n"}
        | {"top_p", "top_k", "min_p", "typical_p", "top_n_sigma"}
    )

    defaults: ClassVar[Mapping[str, float]] = {"temperature": 0.0, "repeat_penalty": 1.0}

    def __init__(
        self,
        translator: Any,
        config: T5Config,
        tokenizer: Tokenizer,
        options: LoadOptions,
    ):
        self._translator = translator
        self._config = config
        self._tokenizer = tokenizer
        self._options = options
        self._device = choose(options.device, sys.platform, _probe())
        self._context_size = options.context_size or config.trained_length
        self._answered: list[Event] = []
        self._answers: dict[str, _Answer] = {}
        self._drawn: queue.SimpleQueue[_Drawn] = queue.SimpleQueue()

    @classmethod
    def refuses(cls, model: ModelInfo, request: EngineRequest) -> str | None:
        """Why torch is to run this request; None when it can be run here."""
        if cause := absence() or _other_device(request.options) or _lacks(request):
            return cause
        if request.options.dtype not in ("auto", "int8"):
            return f"{request.options.dtype} was asked for; ctranslate2 computes in int8"
        return lack_of_room(copy_of(model, "int8"), model.parameter_count or model.size_bytes)

    @classmethod
    def load(cls, model: ModelInfo, options: LoadOptions, progress: LoadProgress) -> Self:
        """Load a folder of safetensors, converted once and kept.

        With ``dtype`` ``float32`` it is converted without loss, which takes four times the room
        and time; other values are ``int8``.
        """
        check_options(options)
        folder = inspect_folder(model.path)
        config = read_config(folder)
        check_tensors(folder, config)
        tokenizer = load_tokenizer(folder, config)
        int8 = options.dtype != "float32"
        copy = copy_of(model, "int8" if int8 else "float32")
        path = copy.found() or _convert(folder, config, copy, progress)
        translator = _open(path, options)
        progress(1.0)
        return cls(translator, config, tokenizer, options)

    @classmethod
    def repair_line(cls) -> str:
        """Command that installs ctranslate2 for this interpreter."""
        return install_line()

    def describe(self) -> dict[str, Any]:
        """Facts for metadata, with ``threads`` for one answer and ``engine_backend_reason``."""
        int8 = self._options.dtype != "float32"
        return {
            "engine_backend": self.name,
            "engine_backend_version": ctranslate2().__version__,
            "engine_backend_reason": "ctranslate2 is installed and answers faster on a CPU",
            **self._device.facts(),
            "architecture": self._config.model_type,
            "quantization": "INT8" if int8 else "F32",
            "context_size": self._context_size,
            "threads": _threads(self._options),
        }

    def start(self, request_id: str, request: ModelRequest, stopped: Callable[[], bool]) -> None:
        """Admit a request; CTranslate2 begins with it at once, or when another one is over."""
        started = perf_counter()
        if isinstance(request, EmbeddingRequest):
            raise RequestError("A T5 model writes text; it makes no vectors.")
        if isinstance(request, TokenizeRequest):
            check_tokenize(request)
            ids = self._tokenizer.encode(prompt_text(request.messages, request.prompt))
            self._answered.append(Tokenized(request_id, tuple(ids)))
            return
        check_request(request, self.controls, self.name)
        if cause := _needs_torch(request):
            raise RequestError(f"The fast lane cannot answer this: {cause}.")
        prompt = prompt_tokens(request, self._tokenizer.encode, self._context_size)
        most = min(request.max_tokens, self._context_size)
        seed = request.sampling.seed
        seed = secrets.randbelow(2**32 - 1) if seed is None else seed
        text = TextAssembler(request.stop)
        write = self._tokenizer.writer()
        answer = _Answer(
            *(request_id, stopped, prompt, most, seed, None, text, started),
            notes=unread(request.messages),
            write=write,
        )
        self._answers[request_id] = answer
        answer.result = self._translate(answer)

    @property
    def active(self) -> int:
        """Number of requests admitted and not finished."""
        return len(self._answered) + len(self._answers)

    def step(self) -> list[Event]:
        """Take the next token; wait a moment for it."""
        events = [*self._answered, *self._end_stopped()]
        self._answered.clear()
        if events or not self._answers:
            return events
        try:
            return self._advance(self._drawn.get(timeout=_PATIENCE))
        except queue.Empty:
            return self._end_failed()

    def close(self) -> None:
        """Give back native memory and threads; active requests end without an event."""
        for answer in self._answers.values():
            answer.over = True
        self._answers.clear()
        # The last reference: CTranslate2 ends its threads, each after its next token. An
        # interpreter that ends while they run is aborted.
        self._translator = None

    def _translate(self, answer: _Answer) -> Any:
        hand_over = self._drawn.put

        def drawn(step: Any) -> bool:
            if not answer.over:
                hand_over(_Drawn(answer, step.token_id, perf_counter(), step.is_last))
            return answer.over or answer.stopped()

        return self._translator.translate_batch(
            [[token_name(token) for token in answer.prompt]],
            beam_size=1,
            max_input_length=0,
            max_decoding_length=answer.max_tokens,
            min_decoding_length=0,
            end_token=list(self._config.ends),
            callback=drawn,
            asynchronous=True,
        )[0]

    def _end_stopped(self) -> list[Event]:
        stopped = [each for each in self._answers.values() if each.stopped()]
        return [self._finish(each, "cancelled") for each in stopped]

    def _advance(self, drawn: _Drawn) -> list[Event]:
        answer = drawn.answer
        if answer.over:
            return []
        events: list[Event] = []
        if not answer.answering:
            total = len(answer.prompt)
            answer.prompt_seconds = drawn.at - answer.started
            events.append(Reading(answer.request_id, total, total))
        answer.sampled(drawn.at)
        if drawn.token in self._config.ends:
            return [*events, self._finish(answer, "stop")]
        answer.tokens += 1
        text = answer.text.push(answer.write(drawn.token))
        events.append(Token(answer.request_id, text, answer.tokens))
        if answer.text.stopped:
            events.append(self._finish(answer, "stop"))
        elif drawn.last:
            events.append(self._finish(answer, "length"))
        return events

    def _finish(self, answer: _Answer, reason: FinishReason) -> Finished:
        self._release(answer)
        return Finished(answer.request_id, reason, answer.text.finish(), answer.usage())

    def _end_failed(self) -> list[Event]:
        """Answers that ended without a last token: CTranslate2 could not go on."""
        failed = [
            each for each in self._answers.values() if each.result.done() and not each.stopped()
        ]
        # A token may have come in the meantime, the last one among them.
        return [self._fail(each) for each in failed] if self._drawn.empty() else []

    def _fail(self, answer: _Answer) -> Failed:
        self._release(answer)
        cause = "it ended too early"
        try:
            answer.result.result()
        except Exception as problem:
            cause = str(problem)
        error = EngineError(f"ctranslate2 could not go on: {cause}.", hint="Run the cell again.")
        return Failed(answer.request_id, error)

    def _release(self, answer: _Answer) -> None:
        answer.over = True
        del self._answers[answer.request_id]


def _convert(folder: ModelFolder, config: T5Config, copy: Copy, progress: LoadProgress) -> Path:
    from llmspell_jupyter.engine.backends._ctranslate2.spec import write_model

    int8 = copy.kind == "int8"

    def write(target: Path) -> None:
        write_model(
            folder, config, target, int8=int8, progress=lambda done: progress(done * _CONVERTING)
        )

    return copy.make(folder.parameter_count * (1 if int8 else 4), write)


def _open(path: Path, options: LoadOptions) -> Any:
    lib = ctranslate2()
    kind = "float32" if options.dtype == "float32" else "int8_float32"
    if kind not in lib.get_supported_compute_types("cpu"):
        raise EngineError(
            f"ctranslate2 cannot compute in {kind} on this processor.",
            hint='Let torch run the model: write dtype = "float32" in the profile.',
        )
    try:
        return lib.Translator(
            str(path),
            device="cpu",
            compute_type=kind,
            inter_threads=max(1, min(options.max_concurrent, usable_cores())),
            intra_threads=_threads(options),
            # Requests beyond those that are computed wait without holding up their senders.
            max_queued_batches=-1,
        )
    except (RuntimeError, ValueError) as error:
        raise BadModelFile(
            f"ctranslate2 cannot load its copy of the model: {error}",
            hint=f"Delete the folder {path}; it is made again.",
            data={"path": str(path), "cause": str(error)},
        ) from error


def _threads(options: LoadOptions) -> int:
    # Two were measured to be slower than one: a token of one answer is too little to share.
    return options.cpu_threads or 1


def _probe() -> Probe:
    return Probe("ctranslate2", absent={"cuda": _CPU_ONLY, "metal": _CPU_ONLY})


def _other_device(options: LoadOptions) -> str | None:
    if options.device == "cpu":
        return None
    if options.device != "auto":
        return f"{options.device} was asked for; {_CPU_ONLY}"
    root = Path(sys.executable).anchor or "/"
    found = gpu.torch_gpu(sys.platform, platform.machine(), gpu.torch_folder(), Path(root))
    return f"there is {found}, on which torch computes" if found else None


def _lacks(request: EngineRequest) -> str | None:
    if not isinstance(request, GenerationRequest):
        return None
    if lacking := lacks(request, CTranslate2T5.controls):
        return f"{', '.join(lacking)} was asked for, which ctranslate2 does not do as torch does"
    return _needs_torch(request)


def _needs_torch(request: GenerationRequest) -> str | None:
    """Values of controls for which the likeliest token is not enough."""
    sampling = settled(request.sampling, CTranslate2T5.defaults)
    if sampling.temperature:
        return f"the temperature is {sampling.temperature:g}; ctranslate2's draws follow no seed"
    if sampling.repeat_penalty != 1:
        return f"repeat_penalty is {sampling.repeat_penalty:g}; ctranslate2 counts otherwise"
    return None


BACKEND = CTranslate2T5
