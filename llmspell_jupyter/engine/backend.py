"""What a backend is: one loaded model, advanced step by step by a single thread."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from llmspell_jupyter.errors import LLMSpellError
from llmspell_jupyter.types import (
    EngineRequest,
    FinishReason,
    LoadOptions,
    ModelInfo,
    ModelRequest,
    TokenLogprob,
)


@dataclass(frozen=True, slots=True)
class Reading:
    """``done`` of ``total`` prompt tokens have been read, ``cached`` of them earlier."""

    request_id: str
    done: int
    total: int
    cached: int = 0


@dataclass(frozen=True, slots=True)
class Token:
    """One more token; ``text`` may be empty while a character or stop string is incomplete.

    ``tokens`` counts the tokens of this answer so far, this one included; ``logprob`` is how
    likely it was, if the request asked for that.
    """

    request_id: str
    text: str
    tokens: int
    logprob: TokenLogprob | None = None


@dataclass(frozen=True, slots=True)
class Finished:
    """The answer is complete; ``text`` is what was still held back, ``usage`` its counts."""

    request_id: str
    reason: FinishReason
    text: str = ""
    usage: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Embedded:
    """The vectors of an ``EmbeddingRequest``: base64 of little-endian 32-bit floats, length 1."""

    request_id: str
    vectors: tuple[str, ...]
    usage: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Tokenized:
    """The token ids of a ``TokenizeRequest``."""

    request_id: str
    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Failed:
    """This request ended with an error; others are unaffected."""

    request_id: str
    error: LLMSpellError


Event = Reading | Token | Finished | Embedded | Tokenized | Failed

#: Events after which nothing more of a request comes.
LAST = (Finished, Embedded, Tokenized, Failed)

#: Told how much of a load is done, from 0 to 1.
LoadProgress = Callable[[float], None]


class Backend(ABC):
    """A loaded model.

    Every method runs on the worker's owner thread. ``start`` admits a request, ``step``
    advances all admitted requests a little and returns what happened, so that requests can
    join and leave between steps. The ``stopped`` callables may be asked at any time from
    inside native code and answer at once.
    """

    #: Name of the library that does the work, ``engine_backend`` in metadata.
    name: ClassVar[str]

    #: Fields of ``Sampling`` and of ``GenerationRequest`` that it acts on; a request that sets
    #: another is refused.
    controls: ClassVar[frozenset[str]]

    #: Values of ``Sampling`` where a request leaves them open.
    defaults: ClassVar[Mapping[str, float]] = {"temperature": 0.7, "repeat_penalty": 1.1}

    @classmethod
    @abstractmethod
    def load(cls, model: ModelInfo, options: LoadOptions, progress: LoadProgress) -> Self:
        """Load the weights.

        A load that is no longer wanted is ended by ending the process.

        Raises:
            BackendMissing: The library behind this backend is not installed.
            BadModelFile: The file cannot be loaded; the message says why.
            DeviceUnavailable: The device that was asked for is not there.
        """

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Facts for metadata.

        ``engine_backend, device, device_reason, architecture, quantization, context_size`` at
        least, and ``device_warning`` when the device is not the one that was asked for.
        """

    @abstractmethod
    def start(self, request_id: str, request: ModelRequest, stopped: Callable[[], bool]) -> None:
        """Admit a request; a ``TokenizeRequest`` is answered by the next step.

        Args:
            request_id: Names the request in events.
            request: What to write, to embed or to tokenize.
            stopped: True once the request is cancelled; the backend then ends it as soon as
                it can, also while it reads the prompt, with ``Finished("cancelled")``.

        Raises:
            RequestError: A parameter is out of range, the backend lacks what is asked for, or
                the model has no chat template.
            ContextOverflow: The prompt does not fit.
        """

    def counts(self) -> Mapping[str, int]:
        """Totals since the load for the engine's status, such as ``decode_calls``."""
        return {}

    @property
    @abstractmethod
    def active(self) -> int:
        """Number of requests admitted and not finished."""

    @abstractmethod
    def step(self) -> Sequence[Event]:
        """Advance every admitted request by one slice of prompt or one token."""

    @classmethod
    def refuses(cls, model: ModelInfo, request: EngineRequest) -> str | None:
        """Why another backend is to be taken for this request; None when this one will do.

        Asked in the engine before anything is loaded, so it imports no library.
        """
        return None

    @classmethod
    def repair_line(cls) -> str | None:
        """Command that installs or rebuilds the library behind it; None when there is none."""
        return None
