"""T5 models from safetensors, through torch."""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, ClassVar, Self

from llmspell_jupyter.engine import sequence, versions
from llmspell_jupyter.engine.backend import (
    Backend,
    Event,
    Finished,
    LoadProgress,
    Reading,
    Token,
    Tokenized,
)
from llmspell_jupyter.engine.backends._t5.config import T5Config, read_config
from llmspell_jupyter.engine.backends._t5.prompt import prompt_text, prompt_tokens, unread
from llmspell_jupyter.engine.backends._t5.tensors import check_tensors
from llmspell_jupyter.engine.backends._t5.tokenizer import Tokenizer, load_tokenizer
from llmspell_jupyter.engine.backends._torch import sampling as drawing
from llmspell_jupyter.engine.backends._torch.beams import Beams
from llmspell_jupyter.engine.backends._torch.library import install_line, native, pick, torch
from llmspell_jupyter.engine.backends._torch.t5 import T5
from llmspell_jupyter.engine.backends._torch.t5_cache import Cache
from llmspell_jupyter.engine.backends._torch.t5_weights import SHOWN, Weights, shapes
from llmspell_jupyter.engine.cores import usable_cores
from llmspell_jupyter.engine.device import Device
from llmspell_jupyter.engine.limits import (
    check_options,
    check_request,
    check_tokenize,
    settled,
)
from llmspell_jupyter.engine.text import TextAssembler
from llmspell_jupyter.errors import RequestError
from llmspell_jupyter.models.folder import inspect_folder
from llmspell_jupyter.models.need import shared_tokens
from llmspell_jupyter.types import (
    DType,
    EmbeddingRequest,
    FinishReason,
    GenerationRequest,
    LoadOptions,
    ModelInfo,
    ModelRequest,
    TokenizeRequest,
)

# Tokens from which a prompt is worth the last core.
_LONG_PROMPT = 128


@dataclass(slots=True, eq=False, kw_only=True)
class _Answer(sequence.Sequence):
    """A request between two steps.

    Attributes:
        written: Its tokens, the one with which it begins included.
        writer: Gives the bytes of each.
        alternatives: How many to report for each token; None reports nothing.
        reading: Its prompt being read; None before and after.
        beams: Its search, if it has one.
    """

    written: list[int]
    writer: Callable[[int], bytes]
    alternatives: int | None = None
    reading: Generator[float, None, Any] | None = None
    beams: Beams | None = None

    @property
    def inputs(self) -> list[int]:
        """The tokens that the decoder takes next, one for each of its rows."""
        return self.beams.tokens if self.beams else [self.last]


class TorchT5(Backend):
    """A T5 model on a CPU or GPU.

    Up to ``max_concurrent`` answers are written together, a token each in a step, as many as fit
    in the context that they share; one prompt is read at a time, a layer in a step, so that the
    answers beside it keep flowing. Further requests wait inside.
    """

    name: ClassVar[str] = "torch"

    controls: ClassVar[frozenset[str]] = drawing.CONTROLS | {
        "num_beams",
        "length_penalty",
        "logprobs",
    }

    #: A model that translates has one right answer, and repeats words where its text does.
    defaults: ClassVar[Mapping[str, float]] = {"temperature": 0.0, "repeat_penalty": 1.0}

    def __init__(
        self,
        model: T5,
        config: T5Config,
        tokenizer: Tokenizer,
        options: LoadOptions,
        facts: dict[str, Any],
    ):
        self._model = model
        self._config = config
        self._tokenizer = tokenizer
        self._seats = options.max_concurrent
        self._context_size = options.context_size or config.trained_length
        # A prompt and an answer are remembered, each of which may be as long.
        self._shared_size = shared_tokens(2 * self._context_size, self._seats)
        self._facts = facts | {
            "context_size": self._context_size,
            "shared_context_size": self._shared_size,
        }
        self._cache = Cache()
        self._calls = sequence.DecodeCalls()
        self._tokenized: list[Event] = []
        self._waiting: deque[_Answer] = deque()
        self._reader: _Answer | None = None
        self._writing: list[_Answer] = []

    @classmethod
    def load(cls, model: ModelInfo, options: LoadOptions, progress: LoadProgress) -> Self:
        """Load a folder of safetensors, memory-mapped where the numbers can stay as they are."""
        check_options(options)
        versions.check("torch")
        folder = inspect_folder(model.path)
        config = read_config(folder)
        check_tensors(folder, config)
        lib = torch()
        device = pick(options.device)
        dtype = settle(options.dtype, device)
        threads = options.cpu_threads or usable_cores()
        # One core stays free: torch's threads spin, and slow down to a sixth when one of them
        # has to wait for a core.
        fewer = max(1, threads - 1)
        lib.set_num_threads(fewer)
        tokenizer = load_tokenizer(folder, config)
        with lib.inference_mode(), Weights(folder, dtype, native(device), progress) as weights:
            loaded = T5(config, weights, shapes(folder))
        facts = {
            "engine_backend": cls.name,
            "engine_backend_version": lib.__version__,
            **device.facts(),
            "architecture": config.model_type,
            "quantization": SHOWN[dtype],
            "threads": fewer,
            "threads_batch": threads,
        }
        return cls(loaded, config, tokenizer, options, facts)

    @classmethod
    def repair_line(cls) -> str:
        """Command that installs torch for this interpreter."""
        return install_line()

    def describe(self) -> dict[str, Any]:
        """Facts for metadata; ``threads_batch`` of them read a long prompt."""
        return dict(self._facts)

    def start(self, request_id: str, request: ModelRequest, stopped: Callable[[], bool]) -> None:
        """Admit a request; it is tokenized here and read in the steps that follow."""
        started = perf_counter()
        if isinstance(request, TokenizeRequest):
            check_tokenize(request)
            text = prompt_text(request.messages, request.prompt)
            self._tokenized.append(Tokenized(request_id, tuple(self._tokenizer.encode(text))))
            return
        if isinstance(request, EmbeddingRequest):
            raise RequestError("A T5 model writes text; it makes no vectors.")
        check_request(request, self.controls, self.name)
        prompt = prompt_tokens(request, self._tokenizer.encode, self._context_size)
        sampling = settled(request.sampling, self.defaults)
        seed = secrets.randbelow(2**32 - 1) if sampling.seed is None else sampling.seed
        drawing.check_biases(sampling, self._config.vocab_size)
        sampler = drawing.Sampler(sampling, seed)
        most = min(request.max_tokens, self._context_size)
        self._waiting.append(
            _Answer(
                request_id,
                stopped,
                prompt,
                most,
                seed,
                sampler,
                TextAssembler(request.stop),
                started,
                notes=unread(request.messages),
                last=self._config.start,
                written=[self._config.start],
                writer=self._tokenizer.writer(),
                alternatives=request.logprobs,
                beams=self._beams(request, sampler, most),
            )
        )

    def counts(self) -> dict[str, int]:
        """Decode calls for answers."""
        return self._calls.to_wire()

    @property
    def active(self) -> int:
        """Number of requests admitted and not finished."""
        return (
            len(self._tokenized)
            + len(self._waiting)
            + (self._reader is not None)
            + len(self._writing)
        )

    def step(self) -> list[Event]:
        """Read a layer of one prompt, and write a token of every answer."""
        events = [*self._tokenized, *self._end_stopped()]
        self._tokenized.clear()
        with torch().inference_mode():
            events += self._read()
            events += self._write()
        return events

    def _beams(
        self, request: GenerationRequest, sampler: drawing.Sampler, most: int
    ) -> Beams | None:
        sampling, config = request.sampling, self._config
        if sampling.num_beams == 1:
            return None
        if sampling.temperature:
            raise _unlike_beams("temperature", "a beam search draws nothing")
        if request.logprobs is not None:
            raise _unlike_beams("logprobs", "a beam search settles its tokens at the end only")
        return Beams(
            sampling.num_beams,
            config.start,
            config.ends,
            sampling.length_penalty,
            most,
            sampler,
        )

    def _end_stopped(self) -> list[Event]:
        reader = (self._reader,) if self._reader else ()
        stopped = [each for each in (*self._waiting, *reader, *self._writing) if each.stopped()]
        if not stopped:
            return []
        self._waiting = deque(each for each in self._waiting if each not in stopped)
        self._reader = None if self._reader in stopped else self._reader
        going: dict[_Answer, Sequence[int]] = {}
        first = 0
        for answer in self._writing:
            rows = range(first, first + len(answer.inputs))
            first = rows.stop
            if answer not in stopped:
                going[answer] = rows
        self._go_on(going)
        return [_finished(answer, "cancelled") for answer in stopped]

    def _read(self) -> list[Event]:
        if self._reader is None:
            if not self._waiting or not self._has_room(self._waiting[0]):
                return []
            self._reader = self._waiting.popleft()
            self._reader.reading = self._model.read(self._reader.prompt)
        answer, began = self._reader, perf_counter()
        assert answer.reading is not None
        long = len(answer.prompt) >= _LONG_PROMPT
        torch().set_num_threads(self._facts["threads_batch" if long else "threads"])
        total = len(answer.prompt)
        try:
            done = int(next(answer.reading) * total)
        except StopIteration as end:
            self._cache.join(end.value)
            self._writing.append(answer)
            self._reader, answer.reading = None, None
            done = total
        answer.prompt_seconds += perf_counter() - began
        return [Reading(answer.request_id, done, total)]

    def _has_room(self, answer: _Answer) -> bool:
        """Whether an answer may join; in the cache every row is as long as the longest."""
        if not self._writing:
            return True
        answers = (*self._writing, answer)
        rows = sum(each.beams.count if each.beams else 1 for each in answers)
        longest = max(len(each.prompt) for each in answers) + max(
            each.max_tokens for each in answers
        )
        return len(answers) <= self._seats and rows * longest <= self._shared_size

    def _write(self) -> list[Event]:
        if not self._writing:
            return []
        torch().set_num_threads(self._facts["threads"])
        inputs = [token for each in self._writing for token in each.inputs]
        logits = self._model.write(self._cache, inputs)
        self._calls.note(len(self._writing))
        plain = all(each.sampler.plain and not each.beams for each in self._writing)
        likeliest = logits.argmax(-1).tolist() if plain else None
        events: list[Event] = []
        going: dict[_Answer, Sequence[int]] = {}
        first = 0
        for answer in self._writing:
            own = logits[first : first + len(answer.inputs)]
            if answer.beams:
                rows, news = self._search(answer, answer.beams, own)
            else:
                token = likeliest[first] if likeliest else None
                rows, news = [0], self._add(answer, own[0], token)
            if not isinstance(news[-1], Finished):
                going[answer] = [first + row for row in rows]
            events += news
            first += len(own)
        self._go_on(going)
        return events

    def _go_on(self, going: Mapping[_Answer, Sequence[int]]) -> None:
        """Keep these answers; each goes on from these rows of the cache."""
        self._writing = list(going)
        with torch().inference_mode():
            self._cache.select([row for rows in going.values() for row in rows])

    def _add(self, answer: _Answer, logits: Any, token: int | None) -> list[Event]:
        """Go on by one token; None is drawn from the logits."""
        if token is None:
            token = answer.sampler.draw(logits, answer.written, None).token
        answer.sampled()
        if token in self._config.ends:
            return [_finished(answer, "stop")]
        answer.last = token
        answer.written.append(token)
        answer.tokens += 1
        likely = None
        if answer.alternatives is not None:
            drawn = drawing.explained(token, logits, answer.alternatives)
            likely = drawing.spelled(drawn, self._tokenizer.piece)
        text = answer.text.push(answer.writer(token))
        events: list[Event] = [Token(answer.request_id, text, answer.tokens, likely)]
        if answer.text.stopped:
            events.append(_finished(answer, "stop"))
        elif answer.tokens == answer.max_tokens:
            events.append(_finished(answer, "length"))
        return events

    def _search(self, answer: _Answer, beams: Beams, logits: Any) -> tuple[list[int], list[Event]]:
        """Go on by one token; the text comes when the search is over."""
        rows = beams.advance(logits)
        answer.sampled()
        if not beams.done:
            answer.tokens += 1
            return rows, [Token(answer.request_id, "", answer.tokens)]
        tokens = list(beams.best)
        reason: FinishReason = "length"
        if tokens[-1] in self._config.ends:
            reason = "stop"
            tokens.pop()
        text = ""
        answer.tokens = 0
        for token in tokens:
            text += answer.text.push(answer.writer(token))
            answer.tokens += 1
            if answer.text.stopped:
                reason = "stop"
                break
        return rows, [_finished(answer, reason, text)]


def settle(wanted: DType, device: Device) -> DType:
    """How the matrices are held where that was left open."""
    if wanted == "int8" and device.name != "cpu":
        raise RequestError(
            "dtype int8 is for the CPU; a GPU computes faster with shorter floating-point numbers.",
            hint='Write dtype = "bfloat16" or "auto".',
            data={"field": "dtype", "device": device.name},
        )
    if wanted != "auto":
        return wanted
    if device.name != "cuda":
        return "float32"
    return "bfloat16" if torch().cuda.is_bf16_supported(including_emulation=False) else "float16"


def _unlike_beams(field: str, why: str) -> RequestError:
    return RequestError(
        f"{field} does not go with num_beams: {why}.",
        hint="Leave out one of them; num_beams = 1 is no search.",
        data={"field": field},
    )


def _finished(answer: _Answer, reason: FinishReason, text: str = "") -> Finished:
    return Finished(answer.request_id, reason, text + answer.text.finish(), answer.usage())


BACKEND = TorchT5
