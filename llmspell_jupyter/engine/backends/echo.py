"""A backend without weights: it repeats what it is told, for tests and diagnosis."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, ClassVar, Self

from llmspell_jupyter.engine.backend import Backend, Event, Finished, Token
from llmspell_jupyter.engine.limits import LONGEST_PROMPT, check_options, check_request, overflow
from llmspell_jupyter.engine.text import TextAssembler
from llmspell_jupyter.errors import BadModelFile
from llmspell_jupyter.types import FinishReason, GenerationRequest, LoadOptions, ModelInfo

_CONTEXT = 4096


class Echo(Backend):
    """Answers with the last user message, or the prompt, one word a step.

    A word with the white space after it is a token.
    """

    name: ClassVar[str] = "echo"

    def __init__(self, context_size: int):
        self._context_size = context_size
        self._answers: dict[str, _Answer] = {}

    @classmethod
    def load(cls, model: ModelInfo, options: LoadOptions) -> Self:
        """Take a model whose format is ``echo``; its path is not looked at."""
        check_options(options)
        if model.format != "echo":
            raise BadModelFile(
                f"{model.id} is of format {model.format!r}; this backend has no weights and "
                "takes format 'echo' only.",
                data={"path": str(model.path)},
            )
        return cls(options.context_size or _CONTEXT)

    def describe(self) -> dict[str, Any]:
        """Facts for metadata; there is no device but the CPU."""
        return {
            "engine_backend": self.name,
            "device": "cpu",
            "architecture": "echo",
            "quantization": None,
            "context_size": self._context_size,
        }

    def start(
        self, request_id: str, request: GenerationRequest, stopped: Callable[[], bool]
    ) -> None:
        """Admit a request; any number can be active."""
        check_request(request)
        words = re.findall(r"\s*\S+\s*", _said(request))
        if len(words) > self._context_size:
            raise overflow(len(words), self._context_size, LONGEST_PROMPT)
        self._answers[request_id] = _Answer(
            words=iter(words),
            prompt_tokens=len(words),
            max_tokens=request.max_tokens,
            seed=request.sampling.seed or 0,
            text=TextAssembler(request.stop),
            stopped=stopped,
            started=perf_counter(),
        )

    @property
    def active(self) -> int:
        """Number of requests admitted and not finished."""
        return len(self._answers)

    def step(self) -> Sequence[Event]:
        """Advance every request by one word."""
        events = [
            event
            for request_id, answer in self._answers.items()
            for event in answer.step(request_id)
        ]
        for event in events:
            if isinstance(event, Finished):
                del self._answers[event.request_id]
        return events


@dataclass(slots=True)
class _Answer:
    words: Iterator[str]
    prompt_tokens: int
    max_tokens: int
    seed: int
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
        yield Token(request_id, self.text.push(word.encode()), self.tokens)
        if self.text.stopped:
            yield self._finished(request_id, "stop")
        elif self.tokens == self.max_tokens:
            # As with a model: the last word does not tell that nothing follows it.
            yield self._finished(request_id, "length")

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


def _said(request: GenerationRequest) -> str:
    if request.prompt is not None:
        return request.prompt
    said = (each.content for each in reversed(request.messages or ()) if each.role == "user")
    return next(itertools.chain(said, [""]))


BACKEND = Echo
