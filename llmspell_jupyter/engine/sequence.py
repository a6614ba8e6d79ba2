"""One request while a batching backend works on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from llmspell_jupyter.engine.text import TextAssembler


@dataclass(slots=True, eq=False)
class Sequence:
    """The state of a request between two steps.

    Attributes:
        request_id: Names the request in events.
        stopped: True once the request is cancelled.
        prompt: Its tokens.
        max_tokens: Tokens to write at most, what the context leaves included.
        seed: Seed of its draws.
        sampler: Chooses its tokens.
        text: Puts its answer together.
        started: When it was admitted, ``perf_counter`` seconds.
        logprobs: Alternatives to report for each token; None reports nothing.
        id: Its place in the context; -1 while it waits for one.
        position: Tokens of it that are in the context.
        cached: Tokens of the prompt that were there before it was read.
        batched_steps: Steps in which tokens of others were computed with its own.
        last: Token that was sampled last and is decoded next.
        tokens: Tokens of the answer so far.
        prompt_seconds: Time spent on reading the prompt.
        first_at: When the first token was sampled; 0 before.
        last_at: When the last one was.
        draws: Tokens sampled, one that ends the answer included.
        notes: Further facts for metadata.
    """

    request_id: str
    stopped: Callable[[], bool]
    prompt: list[int]
    max_tokens: int
    seed: int
    sampler: Any
    text: TextAssembler
    started: float
    logprobs: int | None = None
    id: int = -1
    position: int = 0
    cached: int = 0
    batched_steps: int = 0
    last: int = -1
    tokens: int = 0
    prompt_seconds: float = 0.0
    first_at: float = 0.0
    last_at: float = 0.0
    draws: int = 0
    notes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def answering(self) -> bool:
        """True once the prompt is read."""
        return self.draws > 0

    @property
    def unread(self) -> int:
        """Tokens of the prompt that are still to be read."""
        return len(self.prompt) - self.position

    @property
    def reserved(self) -> int:
        """Tokens of context that it can come to need."""
        return len(self.prompt) + self.max_tokens - 1

    def sampled(self, at: float | None = None) -> None:
        """Note the time of a token, in ``perf_counter`` seconds; None is this moment."""
        self.last_at = perf_counter() if at is None else at
        self.first_at = self.first_at or self.last_at
        self.draws += 1

    def usage(self) -> dict[str, Any]:
        """Counts and times for metadata; ``tokens_per_second`` is None before a second token.

        It is the speed of answering alone; the first token is part of reading the prompt.
        """
        seconds = self.last_at - self.first_at
        first = (self.first_at - self.started) * 1000 if self.draws else None
        return {
            "prompt_tokens": len(self.prompt),
            "completion_tokens": self.tokens,
            "cached_tokens": self.cached,
            "seed": self.seed,
            "time_to_first_token_ms": first,
            "prompt_ms": self.prompt_seconds * 1000,
            "tokens_per_second": (self.draws - 1) / seconds if seconds > 0 else None,
            **self.notes,
        }


class DecodeCalls:
    """Counts the decoding of a backend."""

    def __init__(self) -> None:
        self._counts = {"decode_calls": 0, "batched_decode_calls": 0}

    def note(self, requests: int) -> None:
        """Note one call that computed tokens of so many requests."""
        self._counts["decode_calls"] += 1
        self._counts["batched_decode_calls"] += requests > 1

    def to_wire(self) -> dict[str, int]:
        """The totals as JSON values: of all calls, and of those for two requests or more."""
        return dict(self._counts)


@dataclass(frozen=True, slots=True)
class Share:
    """What a batch holds of one sequence.

    Attributes:
        sequence: Whose tokens they are.
        count: How many.
        row: Where in the batch the last of them stands.
    """

    sequence: Sequence
    count: int
    row: int
