"""Requests and events as JSON values, between the engine and its workers and over HTTP."""

from __future__ import annotations

from dataclasses import asdict, is_dataclass
from enum import StrEnum
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, cast, get_args, get_origin, get_type_hints

from llmspell_jupyter.engine.backend import (
    Embedded,
    Event,
    Failed,
    Finished,
    Reading,
    Token,
    Tokenized,
)
from llmspell_jupyter.errors import from_wire
from llmspell_jupyter.types import (
    Availability,
    AvailableModel,
    ContextFit,
    EmbeddingRequest,
    FileProgress,
    Fit,
    GenerationRequest,
    LoadOptions,
    Lookup,
    Message,
    ModelInfo,
    ModelRequest,
    PullProgress,
    Sampling,
    Speed,
    TokenizeRequest,
    TokenLogprob,
)

_LOWEST = -1e30


def model_to_wire(model: ModelInfo) -> dict[str, Any]:
    """A model; ``model_from_wire`` is the inverse."""
    return asdict(model) | {"path": str(model.path)}


def model_from_wire(wire: dict[str, Any]) -> ModelInfo:
    """A model as ``model_to_wire`` wrote it."""
    return ModelInfo(**{**wire, "path": Path(wire["path"])})


def pull_to_wire(progress: PullProgress) -> dict[str, Any]:
    """How far a pull is, with its percentage; ``pull_from_wire`` is the inverse."""
    return asdict(progress) | {"phase": str(progress.phase), "percent": progress.percent}


def pull_from_wire(wire: dict[str, Any]) -> PullProgress:
    """How far a pull is, as ``pull_to_wire`` wrote it.

    Raises:
        TypeError: A field is missing or of another type.
    """
    return cast("PullProgress", _read(PullProgress, wire))


def availability_from_wire(wire: dict[str, Any]) -> Availability:
    """What can be had, from what ``dataclasses.asdict`` made of it.

    Raises:
        TypeError: A field is missing or of another type.
    """
    return cast("Availability", _read(Availability, wire))


def fit_from_wire(wire: dict[str, Any]) -> Fit:
    """What was judged, from what ``dataclasses.asdict`` made of it.

    Raises:
        TypeError: A field is missing or of another type.
    """
    return cast("Fit", _read(Fit, wire))


def request_to_wire(request: ModelRequest) -> dict[str, Any]:
    """A request; ``request_from_wire`` is the inverse."""
    wire = {"request": type(request).__name__} | asdict(request)
    if isinstance(request, GenerationRequest):
        biases = request.sampling.logit_bias
        wire["sampling"]["logit_bias"] = [(token, _finite(bias)) for token, bias in biases]
    return wire


def request_from_wire(wire: dict[str, Any]) -> ModelRequest:
    """A request as ``request_to_wire`` wrote it.

    Raises:
        KeyError: There is no such kind of request.
        TypeError: A field is missing or of another type.
    """
    return cast("ModelRequest", _read(_REQUESTS[wire["request"]], wire))


def loading_from_wire(wire: dict[str, Any]) -> int:
    """Thousandths of a load that are done.

    Raises:
        TypeError: It is no number.
    """
    done: int = _of(int, wire["loading"])
    return done


def facts_from_wire(wire: dict[str, Any]) -> dict[str, Any]:
    """What a backend says of itself.

    Raises:
        TypeError: It is no table.
    """
    facts: dict[str, Any] = _of(dict, wire["loaded"])
    return facts


def counts_from_wire(wire: dict[str, Any]) -> dict[str, int]:
    """Totals of a backend.

    Raises:
        TypeError: They are no table of numbers.
    """
    counts: dict[str, Any] = _of(dict, wire["counts"])
    return {name: _of(int, count) for name, count in counts.items()}


def event_to_wire(event: Event) -> dict[str, Any]:
    """An event of a backend; ``event_from_wire`` is the inverse."""
    if isinstance(event, Failed):
        return {
            "event": "Failed",
            "request_id": event.request_id,
            "error": event.error.to_wire(),
        }
    wire = {"event": type(event).__name__} | asdict(event)
    if isinstance(event, Token) and event.logprob is not None:
        for each in (wire["logprob"], *wire["logprob"]["top"]):
            each["logprob"] = _finite(each["logprob"])
    return wire


def _finite(number: float) -> float:
    """A number that JSON can write; no logit reaches this one."""
    return max(number, _LOWEST)


def event_from_wire(wire: dict[str, Any]) -> Event:
    """An event as ``event_to_wire`` wrote it.

    Raises:
        KeyError: There is no such kind of event.
        TypeError: A field is missing or of another type.
    """
    if wire["event"] == "Failed":
        return Failed(wire["request_id"], from_wire(wire["error"]))
    return cast("Event", _read(_EVENTS[wire["event"]], wire))


def logprob_from_wire(wire: dict[str, Any]) -> TokenLogprob:
    """A token's log-probability from what ``dataclasses.asdict`` made of it."""
    return cast("TokenLogprob", _read(TokenLogprob, wire))


_REQUESTS = {each.__name__: each for each in (GenerationRequest, EmbeddingRequest, TokenizeRequest)}
_HINTS = {
    each: get_type_hints(each)
    for each in (
        *_REQUESTS.values(),
        *(Message, Sampling, LoadOptions, Lookup, TokenLogprob),
        *(Reading, Token, Finished, Embedded, Tokenized),
        *(PullProgress, FileProgress, Availability, AvailableModel),
        *(Fit, ContextFit, Speed),
    )
}
_EVENTS = {each.__name__: each for each in (Reading, Token, Finished, Embedded, Tokenized)}


def _read(cls: type[Any], wire: Any) -> Any:
    """An instance of a dataclass from what ``asdict`` and JSON made of it."""
    hints = _HINTS[cls]
    given = _of(dict, wire).items()
    return cls(**{key: _value(hints[key], each) for key, each in given if key in hints})


def _value(kind: Any, value: Any) -> Any:
    """A JSON value as the type that a field declares: tuples and nested dataclasses come back."""
    if get_origin(kind) in (Union, UnionType):
        if value is None:
            return None
        kind = next(each for each in get_args(kind) if each is not NoneType)
    if is_dataclass(kind):
        return _read(cast("type[Any]", kind), value)
    if get_origin(kind) is tuple:
        parts, inner = _of((list, tuple), value), get_args(kind)
        if inner[-1] is Ellipsis:
            inner = inner[:1] * len(parts)
        if len(inner) != len(parts):
            raise TypeError(f"{value!r:.80} is not of {len(inner)} parts")
        return tuple(map(_value, inner, parts))
    if get_origin(kind) is Literal:
        if value not in get_args(kind):
            raise TypeError(f"{value!r:.80} is none of {get_args(kind)}")
        return value
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        try:
            return kind(_of(str, value))
        except ValueError:
            raise TypeError(f"{value!r:.80} is none of {[*kind]}") from None
    if kind is float and isinstance(value, int):
        kind = int
    return _of(get_origin(kind) or kind, value)


def _of(kind: Any, value: Any) -> Any:
    """The value, which has to be of this type; a boolean is no number."""
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise TypeError(f"{value!r:.80} is not of type {kind}")
    return value
