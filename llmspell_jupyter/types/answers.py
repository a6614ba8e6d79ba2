"""What the engine answers, and how far it is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

#: Why a generation ended.
FinishReason = Literal["stop", "length", "cancelled"]


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
        done: Units done in this phase: place in the queue, thousandths of a load, or prompt
            tokens read.
        total: Units in all; None when unknown.
        note: What the user should know at once, such as a device that is not the one asked for.
    """

    phase: Phase
    done: int = 0
    total: int | None = None
    note: str = ""

    @property
    def percent(self) -> int | None:
        """Share of the phase that is done; None when unknown."""
        return self.done * 100 // self.total if self.total else None


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """How likely a token was.

    Attributes:
        token: Its text; half characters are shown as U+FFFD.
        bytes: Its bytes.
        logprob: Natural logarithm of its probability before any filter or penalty.
        top: The likeliest tokens at its place, the likeliest first.
    """

    token: str
    bytes: tuple[int, ...]
    logprob: float
    top: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class Chunk:
    """Text as it appears.

    Attributes:
        text: The new text; may be empty while a character or a stop string is incomplete.
        tokens: Tokens written so far in this answer.
        logprobs: Of the new tokens, if the request asked for them.
    """

    text: str
    tokens: int
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class Completion:
    """A finished answer.

    Attributes:
        text: The whole text.
        finish_reason: ``stop`` (the model ended it), ``length`` (``max_tokens`` or the context
            ended it) or ``cancelled``.
        metadata: Counts, times in milliseconds and what ran where; JSON values.
        logprobs: Of all tokens, if the request asked for them.
    """

    text: str
    finish_reason: FinishReason
    metadata: dict[str, Any]
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class Embeddings:
    """Vectors, one for each text, in their order and of length 1.

    Attributes:
        vectors: Floating-point numbers.
        metadata: As of a completion.
    """

    vectors: tuple[tuple[float, ...], ...]
    metadata: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Tokens:
    """A text as a model reads it.

    Attributes:
        ids: Token ids, those included that the model wants around a prompt.
        metadata: As of a completion, with ``context_size``.
    """

    ids: tuple[int, ...]
    metadata: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Ready:
    """A model is loaded.

    Attributes:
        metadata: What ran where, as of a completion, with ``load_ms``; JSON values.
    """

    metadata: dict[str, Any]


#: What ends an engine's answer.
Result = Completion | Embeddings | Tokens | Ready
