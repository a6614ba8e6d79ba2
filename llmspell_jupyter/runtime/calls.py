"""What this notebook asked of models, call by call."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any

from llmspell_jupyter.engine.client import Part
from llmspell_jupyter.errors import Interrupted, LLMSpellError
from llmspell_jupyter.types import Chunk, Progress

#: Calls that are kept; the oldest leave first.
MOST = 10_000


@dataclass(slots=True)
class Call:
    """One call of a model: an answer, vectors, a load, a count of tokens.

    Attributes:
        time: When it began, in local time.
        model: The model, as it was named until it answers.
        engine_backend: Library that did the work.
        device: What computed.
        prompt_tokens: Tokens of the prompt, cached ones included.
        cached_tokens: Of these, tokens that had been read before.
        completion_tokens: Tokens written.
        time_to_first_token_ms: Queue and loading included.
        tokens_per_second: After the first token.
        load_ms: Time of loading the model; 0 when it was loaded before.
        seconds: How long it took as a whole.
        finish_reason: Why an answer ended.
        error: Name of the error that ended it; empty when there was none, ``Interrupted`` when
            nobody waited for its end.
    """

    time: datetime
    model: str
    engine_backend: str | None = None
    device: str | None = None
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    completion_tokens: int | None = None
    time_to_first_token_ms: float | None = None
    tokens_per_second: float | None = None
    load_ms: float | None = None
    seconds: float = 0.0
    finish_reason: str | None = None
    error: str = Interrupted.__name__

    def take(self, facts: Mapping[str, Any]) -> None:
        """Fill in what a result says."""
        for name in COLUMNS:
            if name in facts:
                setattr(self, name, facts[name])


#: The columns of a table of calls, in order.
COLUMNS = tuple(each.name for each in fields(Call))


class Calls:
    """The last calls, oldest first. Use from any thread."""

    def __init__(self, most: int = MOST):
        self._calls: deque[Call] = deque(maxlen=most)

    def __len__(self) -> int:
        return len(self._calls)

    def rows(self) -> list[dict[str, Any]]:
        """The calls as dictionaries with the keys ``COLUMNS``."""
        return [asdict(call) for call in tuple(self._calls)]

    def clear(self) -> None:
        """Forget them."""
        self._calls.clear()

    @contextmanager
    def kept(self, model: str, parts: Iterator[Part]) -> Iterator[Iterator[Part]]:
        """The same parts; when the block ends, the call is kept, with what ended it."""
        call = Call(datetime.now().astimezone(), model)
        started = time.monotonic()
        result: Part | None = None

        def noted() -> Iterator[Part]:
            nonlocal result
            for part in parts:
                result = part
                yield part

        try:
            yield noted()
        except LLMSpellError as error:
            call.error = type(error).__name__
            raise
        finally:
            call.seconds = round(time.monotonic() - started, 3)
            if result is not None and not isinstance(result, Progress | Chunk):
                call.take(result.metadata)
                call.error = ""
            self._calls.append(call)
