"""What a backend is: one loaded model, advanced step by step by a single thread."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from llmspell_jupyter.errors import LLMSpellError
from llmspell_jupyter.types import FinishReason, GenerationRequest, LoadOptions, ModelInfo


@dataclass(frozen=True, slots=True)
class Reading:
    """``done`` of ``total`` prompt tokens have been read."""

    request_id: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Token:
    """One more token; ``text`` may be empty while a character or stop string is incomplete.

    ``tokens`` counts the tokens of this answer so far, this one included.
    """

    request_id: str
    text: str
    tokens: int


@dataclass(frozen=True, slots=True)
class Finished:
    """The answer is complete; ``text`` is what was still held back, ``usage`` its counts."""

    request_id: str
    reason: FinishReason
    text: str = ""
    usage: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failed:
    """This request ended with an error; others are unaffected."""

    request_id: str
    error: LLMSpellError


Event = Reading | Token | Finished | Failed


class Backend(ABC):
    """A loaded model.

    Every method runs on the worker's owner thread. ``start`` admits a request, ``step``
    advances all admitted requests a little and returns what happened, so that requests can
    join and leave between steps. The ``stopped`` callables may be asked at any time from
    inside native code and answer at once.
    """

    #: Name that appears in metadata as ``engine_backend``; also the module's file name.
    name: ClassVar[str]

    @classmethod
    @abstractmethod
    def load(cls, model: ModelInfo, options: LoadOptions) -> Self:
        """Load the weights.

        Raises:
            BackendMissing: The library behind this backend is not installed.
            BadModelFile: The file cannot be loaded; the message says why.
        """

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Facts for metadata.

        ``engine_backend, device, architecture, quantization, context_size`` at least.
        """

    @abstractmethod
    def start(
        self, request_id: str, request: GenerationRequest, stopped: Callable[[], bool]
    ) -> None:
        """Admit a request.

        Args:
            request_id: Names the request in events.
            request: What to write.
            stopped: True once the request is cancelled; the backend then ends it as soon as
                it can, also while it reads the prompt, with ``Finished("cancelled")``.

        Raises:
            RequestError: A parameter is out of range, or the model has no chat template.
            ContextOverflow: The prompt does not fit.
        """

    @property
    @abstractmethod
    def active(self) -> int:
        """Number of requests admitted and not finished."""

    @abstractmethod
    def step(self) -> Sequence[Event]:
        """Advance every admitted request by one slice of prompt or one token."""

    @classmethod
    def repair_line(cls) -> str | None:
        """Command that installs or rebuilds the library behind it; None when there is none."""
        return None
