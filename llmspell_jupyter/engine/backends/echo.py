"""A backend without weights: it repeats what it is told, for tests and diagnosis."""

from __future__ import annotations

import base64
import hashlib
import itertools
import math
import re
import struct
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from time import perf_counter, sleep
from typing import Any, ClassVar, Self

from llmspell_jupyter.engine import device
from llmspell_jupyter.engine.backend import (
    Backend,
    Embedded,
    Event,
    Finished,
    LoadProgress,
    Token,
    Tokenized,
)
from llmspell_jupyter.engine.limits import (
    LONGEST_PROMPT,
    OPTIONAL,
    check_embedding,
    check_options,
    check_request,
    check_tokenize,
    ledger,
    overflow,
)
from llmspell_jupyter.engine.text import TextAssembler
from llmspell_jupyter.errors import BadModelFile
from llmspell_jupyter.types import (
    EmbeddingRequest,
    FinishReason,
    LoadOptions,
    Message,
    ModelInfo,
    ModelRequest,
    Sampling,
    TokenizeRequest,
    TokenLogprob,
)

_CONTEXT = 4096

# A load that is long enough to be watched and to be given up.
_SLOW = "echo:slow"
_SLOW_SECONDS = 2.0
_SLOW_STEPS = 100

_DIMENSIONS = 8


class Echo(Backend):
    """Answers with the last user message, or the prompt, one word a step.

    A word with the white space after it is a token, and is certain. A text's vector is made from
    its hash: equal texts have equal vectors, and no others are near. The model ``echo:slow``
    takes two seconds to load. A grammar or schema is not followed; the engine sees to that.
    """

    name: ClassVar[str] = "echo"

    #: It makes no choices, so any way to make them will do.
    controls: ClassVar[frozenset[str]] = frozenset({*Sampling.__dataclass_fields__, *OPTIONAL})

    def __init__(self, options: LoadOptions, device: device.Device):
        self._options = options
        self._device = device
        self._context_size = options.context_size or _CONTEXT
        self._answers: dict[str, _Answer] = {}
        self._ready: list[Event] = []

    @classmethod
    def load(cls, model: ModelInfo, options: LoadOptions, progress: LoadProgress) -> Self:
        """Take a model whose format is ``echo``; its path is not looked at."""
        check_options(options)
        if model.format != "echo":
            raise BadModelFile(
                f"{model.id} is of format {model.format!r}; this backend has no weights and "
                "takes format 'echo' only.",
                data={"path": str(model.path)},
            )
        probe = device.Probe(
            "echo", absent=dict.fromkeys(("cuda", "metal"), "there are no weights")
        )
        chosen = device.choose(options.device, sys.platform, probe)
        if model.id == _SLOW:
            for step in range(_SLOW_STEPS):
                progress(step / _SLOW_STEPS)
                sleep(_SLOW_SECONDS / _SLOW_STEPS)
        return cls(options, chosen)

    def describe(self) -> dict[str, Any]:
        """Facts for metadata, with the options as they came."""
        return {
            "engine_backend": self.name,
            **self._device.facts(),
            "architecture": "echo",
            "quantization": None,
            "context_size": self._context_size,
            "load_options": asdict(self._options),
        }

    def start(self, request_id: str, request: ModelRequest, stopped: Callable[[], bool]) -> None:
        """Admit a request; any number can be active."""
        if isinstance(request, EmbeddingRequest):
            check_embedding(request)
            self._ready.append(_embedded(request_id, request))
            return
        words = _words(_said(request.messages, request.prompt))
        if isinstance(request, TokenizeRequest):
            check_tokenize(request)
            self._ready.append(Tokenized(request_id, tuple(range(len(words)))))
            return
        check_request(request, self.controls, self.name)
        if len(words) > self._context_size:
            parts = ledger(request.messages, len(words), lambda text: len(text.split()))
            raise overflow(len(words), self._context_size, LONGEST_PROMPT, parts)
        self._answers[request_id] = _Answer(
            words=iter(words),
            prompt_tokens=len(words),
            max_tokens=request.max_tokens,
            seed=request.sampling.seed or 0,
            logprobs=request.logprobs,
            text=TextAssembler(request.stop),
            stopped=stopped,
            started=perf_counter(),
        )

    @property
    def active(self) -> int:
        """Number of requests admitted and not finished."""
        return len(self._answers) + len(self._ready)

    def step(self) -> Sequence[Event]:
        """Advance every request by one word."""
        ready, self._ready = self._ready, []
        events = [
            event
            for request_id, answer in self._answers.items()
            for event in answer.step(request_id)
        ]
        for event in events:
            if isinstance(event, Finished):
                del self._answers[event.request_id]
        return [*ready, *events]


@dataclass(slots=True)
class _Answer:
    words: Iterator[str]
    prompt_tokens: int
    max_tokens: int
    seed: int
    logprobs: int | None
    text: TextAssembler
    stopped: Callable[[], bool]
    started: float
    tokens: int = 0
    first_ms: float | None = None

    def step(self, request_id: str) -> Iterator[Event]:
        if self.stopped():
            yield self._finished(request_id, "cancelled")
            return
        word = next(self.words, None)
        if word is None:
            yield self._finished(request_id, "stop")
            return
        self.tokens += 1
        self.first_ms = self.first_ms or (perf_counter() - self.started) * 1000
        yield Token(request_id, self.text.push(word.encode()), self.tokens, self._logprob(word))
        if self.text.stopped:
            yield self._finished(request_id, "stop")
        elif self.tokens == self.max_tokens:
            # As with a model: the last word does not tell that nothing follows it.
            yield self._finished(request_id, "length")

    def _logprob(self, word: str) -> TokenLogprob | None:
        if self.logprobs is None:
            return None
        certain = TokenLogprob(word, tuple(word.encode()), 0.0)
        return replace(certain, top=(certain,)) if self.logprobs else certain

    def _finished(self, request_id: str, reason: FinishReason) -> Finished:
        seconds = perf_counter() - self.started
        usage = {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.tokens,
            "cached_tokens": 0,
            "seed": self.seed,
            "time_to_first_token_ms": self.first_ms,
            "prompt_ms": 0.0,
            "tokens_per_second": self.tokens / seconds if seconds else None,
        }
        return Finished(request_id, reason, self.text.finish(), usage)


def _said(messages: Sequence[Message] | None, prompt: str | None) -> str:
    if prompt is not None:
        return prompt
    said = (each.content for each in reversed(messages or ()) if each.role == "user")
    return next(itertools.chain(said, [""]))


def _words(text: str) -> list[str]:
    return re.findall(r"\s*\S+\s*", text)


def _embedded(request_id: str, request: EmbeddingRequest) -> Embedded:
    tokens = sum(len(_words(text)) for text in request.texts)
    vectors = tuple(_vector(text, request.dimensions) for text in request.texts)
    return Embedded(request_id, vectors, {"prompt_tokens": tokens})


def _vector(text: str, dimensions: int | None) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    # Odd numbers are never 0, and so is no length.
    numbers = [2 * byte - 255 for byte in digest[: min(dimensions or _DIMENSIONS, _DIMENSIONS)]]
    length = math.hypot(*numbers)
    packed = struct.pack(f"<{len(numbers)}f", *(each / length for each in numbers))
    return base64.b64encode(packed).decode()


BACKEND = Echo
