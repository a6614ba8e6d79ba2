"""Causal language models as safetensors, on torch."""

from __future__ import annotations

import logging
import secrets
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter
from typing import Any, ClassVar, Self

from llmspell_jupyter.engine import versions
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
from llmspell_jupyter.engine.backends._torch import library
from llmspell_jupyter.engine.backends._torch.chat import Conversations
from llmspell_jupyter.engine.backends._torch.failures import could_not_go_on
from llmspell_jupyter.engine.backends._torch.numbers import number_type, quantization
from llmspell_jupyter.engine.backends._torch.pretrained import build, dynamic_cache
from llmspell_jupyter.engine.backends._torch.sampling import (
    CONTROLS,
    Sampler,
    check_biases,
    spelled,
)
from llmspell_jupyter.engine.backends._torch.tokenizer import Pieces, read_tokenizer
from llmspell_jupyter.engine.cores import usable_cores
from llmspell_jupyter.engine.device import Device
from llmspell_jupyter.engine.limits import (
    check_options,
    check_request,
    check_tokenize,
    conversation,
    ledger,
    overflow,
    settled,
)
from llmspell_jupyter.engine.sequence import Sequence
from llmspell_jupyter.engine.text import TextAssembler
from llmspell_jupyter.errors import EngineError, RequestError
from llmspell_jupyter.models.folder import ModelFolder, inspect_folder
from llmspell_jupyter.models.need import shared_tokens
from llmspell_jupyter.types import (
    EmbeddingRequest,
    FinishReason,
    GenerationRequest,
    LoadOptions,
    Message,
    ModelInfo,
    ModelRequest,
    TokenizeRequest,
)

_log = logging.getLogger(__name__)

# While others answer, a prompt is read in slices this small so that their text keeps flowing.
_SLICE_BESIDE_ANSWERS = 64


class TorchCausal(Backend):
    """A language model that continues text.

    Each request has a cache of its own and is computed alone, so that an answer never depends on
    what else is asked; up to ``max_concurrent`` take turns, as many as fit in the context that
    they share, the others wait. A step computes a token for each request that is being answered
    and a slice of one prompt.
    """

    name: ClassVar[str] = "torch"

    controls: ClassVar[frozenset[str]] = CONTROLS

    def __init__(
        self, model: Any, folder: ModelFolder, info: ModelInfo, options: LoadOptions, device: Device
    ):
        self._model = model
        self._info = info
        self._folder = folder
        self._device = device
        self._native = library.native(device)
        self._tokenizer = read_tokenizer(folder)
        self._pieces = Pieces(self._tokenizer, folder)
        self._conversations = Conversations(folder, self._tokenizer)
        self._ends = _ends(folder)
        self._context_size, self._most = _context_size(model, info, options)
        self._batch_size = options.batch_size
        self._seats = options.max_concurrent
        self._shared_size = shared_tokens(self._context_size, self._seats)
        self._answered: list[Event] = []
        self._waiting: deque[_Answer] = deque()
        self._seated: list[_Answer] = []

    @classmethod
    def load(cls, model: ModelInfo, options: LoadOptions, progress: LoadProgress) -> Self:
        """Load a folder of safetensors, memory-mapped where it needs no conversion.

        A ``context_size`` above what the model was trained for is lowered to that.
        """
        check_options(options)
        versions.check("torch", "transformers")
        folder = inspect_folder(model.path)
        device = library.pick(options.device)
        native = library.native(device)
        library.torch().set_num_threads(options.cpu_threads or usable_cores())
        kind = number_type(options.dtype, native, half="bfloat16")
        built = build(folder, "generate", kind, native, progress)
        return cls(built, folder, model, options, device)

    @classmethod
    def repair_line(cls) -> str:
        """Command that installs torch and what goes with it for this interpreter."""
        return library.install_line()

    def describe(self) -> dict[str, Any]:
        """Facts for metadata, with ``threads``."""
        return {
            "engine_backend": self.name,
            "engine_backend_version": library.torch().__version__,
            **self._device.facts(),
            "architecture": self._info.architecture or self._folder.model_type,
            "quantization": quantization(self._model.dtype),
            "context_size": self._context_size,
            "shared_context_size": self._shared_size,
            "threads": library.torch().get_num_threads(),
        }

    def start(self, request_id: str, request: ModelRequest, stopped: Callable[[], bool]) -> None:
        """Admit a request; it is tokenized here and read in the steps that follow."""
        started = perf_counter()
        if isinstance(request, TokenizeRequest):
            check_tokenize(request)
            ids = tuple(self._tokens(request.messages, request.prompt))
            self._answered.append(Tokenized(request_id, ids))
            return
        if isinstance(request, EmbeddingRequest):
            raise RequestError(
                f"{self._info.id} writes text; it does not make vectors of it.",
                hint="Use an embedding model, such as all-minilm-l6-v2.",
            )
        check_request(request, self.controls, self.name)
        sampling = settled(request.sampling, self.defaults)
        check_biases(sampling, self._model.config.vocab_size)
        messages = conversation(request)
        prompt = self._tokens(messages, request.prompt)
        self._check_length(prompt, messages)
        seed = secrets.randbelow(2**32 - 1) if sampling.seed is None else sampling.seed
        sequence = Sequence(
            request_id=request_id,
            stopped=stopped,
            prompt=prompt,
            # The last token of an answer is never computed with, so it needs no place.
            max_tokens=min(request.max_tokens, self._context_size - len(prompt) + 1),
            seed=seed,
            sampler=Sampler(sampling, seed),
            text=TextAssembler(request.stop),
            started=started,
        )
        cache = dynamic_cache(self._model)
        self._waiting.append(_Answer(sequence, request, cache, spaces=self._pieces.leading_spaces))

    @property
    def active(self) -> int:
        """Number of requests admitted and not finished."""
        return len(self._answered) + len(self._waiting) + len(self._seated)

    def step(self) -> list[Event]:
        """Compute a token of each answer and a slice of one prompt."""
        events = [*self._answered, *self._end_stopped()]
        self._answered.clear()
        while self._waiting and self._has_room(self._waiting[0]):
            self._seated.append(self._waiting.popleft())
        answering = [each for each in self._seated if each.sequence.answering]
        reader = next((each for each in self._seated if not each.sequence.answering), None)
        for answer in answering:
            events += self._guarded(answer, self._write)
        if reader is not None:
            most = min(self._batch_size, _SLICE_BESIDE_ANSWERS) if answering else self._batch_size
            events += self._guarded(reader, partial(self._read, most=most))
        return events

    def _has_room(self, answer: _Answer) -> bool:
        reserved = sum(each.sequence.reserved for each in (*self._seated, answer))
        return len(self._seated) < self._seats and reserved <= self._shared_size

    def _tokens(self, messages: Iterable[Message] | None, prompt: str | None) -> list[int]:
        if prompt is None:
            text = self._conversations.render(self._info.id, tuple(messages or ()))
            tokens = self._tokenizer.encode(text, special=False)
            if not tokens:
                raise RequestError("The model's chat template made an empty prompt.")
            return tokens
        tokens = self._tokenizer.encode(prompt)
        if not tokens and self._conversations.begin is not None:
            tokens = [self._conversations.begin]
        if not tokens:
            raise RequestError("The prompt is empty.", data={"field": "prompt"})
        return tokens

    def _check_length(self, prompt: list[int], messages: tuple[Message, ...] | None) -> None:
        if len(prompt) > self._context_size:

            def count(text: str) -> int:
                return len(self._tokenizer.encode(text, special=False))

            parts = ledger(messages, len(prompt), count)
            raise overflow(len(prompt), self._context_size, self._most, parts)

    def _end_stopped(self) -> list[Event]:
        stopped = [each for each in (*self._waiting, *self._seated) if each.sequence.stopped()]
        return [self._finish(each, "cancelled") for each in stopped]

    def _guarded(self, answer: _Answer, work: Callable[[_Answer], list[Event]]) -> list[Event]:
        try:
            return work(answer)
        except EngineError as error:
            failed = error
        except Exception as error:  # A RuntimeError mostly, for want of memory.
            failed = could_not_go_on(error)
        self._seated.remove(answer)
        return [Failed(answer.sequence.request_id, failed)]

    def _read(self, answer: _Answer, most: int) -> list[Event]:
        """Compute a slice of a prompt, and the first token after the last one."""
        sequence = answer.sequence
        began = perf_counter()
        tokens = sequence.prompt[sequence.position : sequence.position + most]
        logits = self._compute(answer, tokens)
        done, total = sequence.position, len(sequence.prompt)
        events: list[Event] = [Reading(sequence.request_id, done, total)]
        events += self._draw(answer, logits) if done == total else []
        sequence.prompt_seconds += perf_counter() - began
        return events

    def _write(self, answer: _Answer) -> list[Event]:
        return self._draw(answer, self._compute(answer, [answer.sequence.last]))

    def _compute(self, answer: _Answer, tokens: list[int]) -> Any:
        """Logits after the last of these tokens, which join what the cache holds."""
        lib = library.torch()
        with lib.inference_mode():
            output = self._model(
                input_ids=lib.tensor([tokens], device=self._native),
                past_key_values=answer.cache,
                use_cache=True,
                logits_to_keep=1,
            )
        answer.sequence.position += len(tokens)
        return output.logits[0, -1]

    def _draw(self, answer: _Answer, logits: Any) -> list[Event]:
        sequence = answer.sequence
        with library.torch().inference_mode():
            drawn = sequence.sampler.draw(logits, answer.tokens, answer.request.logprobs)
        sequence.sampled()
        if drawn.token in self._ends:
            return [self._finish(answer, "stop")]
        sequence.last = drawn.token
        sequence.tokens += 1
        answer.tokens.append(drawn.token)
        text = sequence.text.push(answer.beginning(self._pieces[drawn.token]))
        logprob = spelled(drawn, self._pieces.__getitem__)
        events: list[Event] = [Token(sequence.request_id, text, sequence.tokens, logprob)]
        if sequence.text.stopped:
            events.append(self._finish(answer, "stop"))
        elif sequence.tokens == sequence.max_tokens:
            events.append(self._finish(answer, "length"))
        return events

    def _finish(self, answer: _Answer, reason: FinishReason) -> Finished:
        (self._seated if answer in self._seated else self._waiting).remove(answer)
        sequence = answer.sequence
        return Finished(sequence.request_id, reason, sequence.text.finish(), sequence.usage())


@dataclass(slots=True, eq=False)
class _Answer:
    """A request between two steps.

    Attributes:
        sequence: Its counts, its text and what draws its tokens.
        request: What was asked.
        cache: What the model remembers of it.
        tokens: Those of the answer so far.
        spaces: Spaces still to be left out before its first word.
    """

    sequence: Sequence
    request: GenerationRequest
    cache: Any
    tokens: list[int] = field(default_factory=list)
    spaces: int = 0

    def beginning(self, data: bytes) -> bytes:
        """The bytes of the next token without the spaces that no answer begins with."""
        while data and self.spaces:
            self.spaces = self.spaces - 1 if data.startswith(b" ") else 0
            data = data.removeprefix(b" ") if data.startswith(b" ") else data
        return data


def _ends(folder: ModelFolder) -> frozenset[int]:
    """Tokens that end an answer."""
    generation = folder.json("generation_config.json") or {}
    said = generation.get("eos_token_id")
    said = folder.config.get("eos_token_id") if said is None else said
    return frozenset(
        token for token in (said if isinstance(said, list) else [said]) if type(token) is int
    )


def _context_size(model: Any, info: ModelInfo, options: LoadOptions) -> tuple[int, int]:
    """Tokens of context in use, and at most; what the options say where the model says nothing."""
    trained = getattr(model.config, "max_position_embeddings", None)
    if not trained:
        size = options.context_size or LoadOptions().context_size
        return size, size
    if options.context_size > trained:
        _log.warning(
            "%s was trained for %d tokens of context; context_size %d is lowered to that.",
            *(info.id, trained, options.context_size),
        )
    return min(options.context_size or trained, trained), trained


BACKEND = TorchCausal
