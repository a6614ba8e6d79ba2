"""Values that cross rooms: frozen, plain, and expressible as JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

#: Why a generation ended.
FinishReason = Literal["stop", "length", "cancelled"]


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A model as the user names it: ``model[:variant][@backend]``.

    Attributes:
        name: Model name, such as ``smollm2``.
        variant: A size (``135m``), a quantisation (``Q4_K_M``) or ``size-quantisation``.
        backend: ``candle`` (the engine of this package) or ``ollama``; None when not named.
    """

    name: str
    variant: str | None = None
    backend: str | None = None

    @property
    def id(self) -> str:
        """The spec without its backend, as listings show it."""
        return f"{self.name}:{self.variant}" if self.variant else self.name

    def __str__(self) -> str:
        return f"{self.id}@{self.backend}" if self.backend else self.id


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model on this machine.

    Attributes:
        id: ``name:variant`` as it is typed.
        backend: Backend that runs it.
        path: The weights file.
        format: File format, ``GGUF`` so far.
        size_bytes: Size of the weights file.
        modified_at: Time of last change, seconds since the epoch.
        architecture: What the file says it is, such as ``llama``; None when unreadable.
        quantization: Such as ``Q4_1``; None when the file does not say.
        parameter_count: Number of weights; None when unreadable.
        context_length: Tokens the model was trained to hold; None when unknown.
        bundled: True when it came inside an installed Python package.
    """

    id: str
    backend: str
    path: Path
    format: str
    size_bytes: int
    modified_at: int
    architecture: str | None = None
    quantization: str | None = None
    parameter_count: int | None = None
    context_length: int | None = None
    bundled: bool = False


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen.

    Attributes:
        temperature: 0 takes the likeliest token; larger is more varied.
        top_p: Keep the likeliest tokens that together hold this probability; 1 is off.
        top_k: Keep this many of the likeliest tokens; 0 is off.
        min_p: Drop tokens less likely than this share of the likeliest; 0 is off.
        repeat_penalty: Divides the logits of recent tokens; 1 is off.
        repeat_last_n: How many recent tokens count as recent; -1 means the whole context.
        seed: Seed of the draw; None draws a fresh one, which the metadata reports.
    """

    temperature: float = 0.7
    top_p: float = 0.9
    top_k: int = 40
    min_p: float = 0.0
    repeat_penalty: float = 1.1
    repeat_last_n: int = 64
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How a model is loaded; requests that differ in these use separate workers.

    Attributes:
        context_size: Tokens of context; 0 means what the model was trained for.
        batch_size: Prompt tokens read at a time.
        cpu_threads: Threads for reading prompts; 0 means one for each usable core. Answering
            uses one fewer when there are several, because llama.cpp slows down to a tenth
            when a thread of it has to wait for a core.
    """

    context_size: int = 4096
    batch_size: int = 512
    cpu_threads: int = 0


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """What a model is asked to write.

    Exactly one of ``messages`` (rendered by the model's own chat template) and ``prompt``
    (taken as it stands) is set.

    Attributes:
        model: Model spec.
        max_tokens: Most tokens to write.
        stop: Strings that end the answer; they are not part of it.
    """

    model: str
    messages: tuple[Message, ...] | None = None
    prompt: str | None = None
    max_tokens: int = 512
    stop: tuple[str, ...] = ()
    sampling: Sampling = field(default_factory=Sampling)
    options: LoadOptions = field(default_factory=LoadOptions)


class Phase(StrEnum):
    """Where a generation stands."""

    QUEUED = "queued"
    LOADING = "loading"
    READING = "reading the prompt"
    ANSWERING = "answering"


@dataclass(frozen=True, slots=True)
class Progress:
    """A sign of life between chunks.

    Attributes:
        phase: What is going on.
        done: Units done in this phase: place in the queue, or prompt tokens read.
        total: Units in all; None when unknown.
    """

    phase: Phase
    done: int = 0
    total: int | None = None


@dataclass(frozen=True, slots=True)
class Chunk:
    """Text as it appears.

    Attributes:
        text: The new text; may be empty while a character or a stop string is incomplete.
        tokens: Tokens written so far in this answer.
    """

    text: str
    tokens: int


@dataclass(frozen=True, slots=True)
class Completion:
    """A finished answer.

    Attributes:
        text: The whole text.
        finish_reason: ``stop`` (the model ended it), ``length`` (``max_tokens`` or the context
            ended it) or ``cancelled``.
        metadata: Counts, times in milliseconds and what ran where; JSON values.
    """

    text: str
    finish_reason: FinishReason
    metadata: dict[str, Any]
