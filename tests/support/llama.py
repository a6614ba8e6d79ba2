"""What tests of the backend for GGUF models share."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from llmspell_jupyter.engine.backend import Event, Failed, Finished, Reading, Token
from llmspell_jupyter.engine.backends.llama_cpp import BACKEND, LlamaCpp
from llmspell_jupyter.types import (
    EmbeddingRequest,
    GenerationRequest,
    LoadOptions,
    Message,
    ModelInfo,
    Sampling,
)

GREEDY = Sampling(temperature=0)


def info(path: Path) -> ModelInfo:
    return ModelInfo("a-model", "candle", path, "GGUF", size_bytes=0, modified_at=0)


def load(
    path: Path, progress: Callable[[float], None] = lambda share: None, **options: Any
) -> LlamaCpp:
    return BACKEND.load(info(path), LoadOptions(**options), progress)


def ask(text: str | tuple[Message, ...], **rest: Any) -> GenerationRequest:
    """A request: chat when ``text`` is a tuple of messages, plain otherwise; greedy, short."""
    rest = {"max_tokens": 32, "sampling": GREEDY} | rest
    if isinstance(text, str):
        return GenerationRequest("a-model", prompt=text, **rest)
    return GenerationRequest("a-model", messages=text, **rest)


def say(content: str) -> tuple[Message, ...]:
    return (Message("user", content),)


def events_of(
    backend: LlamaCpp, request: Any, stopped: Callable[[], bool] = lambda: False
) -> list[Any]:
    backend.start("r", request, stopped)
    events: list[Event] = []
    while backend.active:
        events += backend.step()
    return events


def run(backend: LlamaCpp, request: Any, stopped: Callable[[], bool] = lambda: False) -> list[Any]:
    events = events_of(backend, request, stopped)
    assert isinstance(events[-1], Finished), events[-1]
    return events


def text(events: Iterable[Any]) -> str:
    return "".join(event.text for event in events if not isinstance(event, Reading))


def write(backend: LlamaCpp, prompt: str, **rest: Any) -> str:
    """The answer to a plain prompt, drawn with the given controls."""
    names = Sampling.__dataclass_fields__
    controls = {name: rest.pop(name) for name in list(rest) if name in names}
    return text(run(backend, ask(prompt, sampling=Sampling(**controls), **rest)))


def collect(backend: LlamaCpp, events: Iterable[Any] = ()) -> dict[str, list[Any]]:
    """The events of all active requests, by request."""
    answers: dict[str, list[Any]] = {}
    events = list(events)
    while backend.active:
        events += backend.step()
    for event in events:
        assert not isinstance(event, Failed), event
        answers.setdefault(event.request_id, []).append(event)
    return answers


def vectors(backend: LlamaCpp, *texts: str, **rest: Any) -> np.ndarray:
    events = events_of(backend, EmbeddingRequest("a-model", texts, **rest))
    return np.array([np.frombuffer(base64.b64decode(each), "<f4") for each in events[-1].vectors])


def steps(events: Iterable[Any]) -> list[tuple[bytes, float]]:
    """Each token of an answer with two log-probabilities, and how far these lie apart."""
    logprobs = [event.logprob for event in events if isinstance(event, Token)]
    return [(bytes(one.bytes), one.top[0].logprob - one.top[1].logprob) for one in logprobs]


def agrees(events: Iterable[Any], alone: Iterable[Any]) -> int:
    """Check that a greedy answer is the lone one up to its first close choice; tokens compared.

    A choice is close when the two best logits of the lone answer differ by less than 0.5. Those
    of the same text computed in batches of other shapes differed by up to 0.4 (4-bit weights,
    AVX2): numbers are rounded to 8 bits between the layers, and a sum that comes out a little
    different can be rounded the other way.
    """
    compared = 0
    for (token, _), (expected, margin) in zip(steps(events), steps(alone), strict=False):
        if margin < 0.5:
            break
        assert token == expected, f"token {compared}: {token!r} instead of {expected!r}"
        compared += 1
    return compared
