"""Requests and events as JSON values, between the engine and its workers and over HTTP."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from llmspell_jupyter.engine.backend import Event, Failed, Finished, Reading, Token
from llmspell_jupyter.errors import from_wire
from llmspell_jupyter.types import GenerationRequest, LoadOptions, Message, ModelInfo, Sampling


def model_to_wire(model: ModelInfo) -> dict[str, Any]:
    """A model; ``model_from_wire`` is the inverse."""
    return asdict(model) | {"path": str(model.path)}


def model_from_wire(wire: dict[str, Any]) -> ModelInfo:
    """A model as ``model_to_wire`` wrote it."""
    return ModelInfo(**{**wire, "path": Path(wire["path"])})


def request_to_wire(request: GenerationRequest) -> dict[str, Any]:
    """A request; ``request_from_wire`` is the inverse."""
    return asdict(request)


def request_from_wire(wire: dict[str, Any]) -> GenerationRequest:
    """A request as ``request_to_wire`` wrote it."""
    messages = wire["messages"]
    return GenerationRequest(
        **{
            **wire,
            "messages": None if messages is None else tuple(Message(**each) for each in messages),
            "stop": tuple(wire["stop"]),
            "sampling": Sampling(**wire["sampling"]),
            "options": LoadOptions(**wire["options"]),
        }
    )


def event_to_wire(event: Event) -> dict[str, Any]:
    """An event of a backend; ``event_from_wire`` is the inverse."""
    if isinstance(event, Failed):
        return {
            "event": "Failed",
            "request_id": event.request_id,
            "error": event.error.to_wire(),
        }
    return {"event": type(event).__name__} | asdict(event)


def event_from_wire(wire: dict[str, Any]) -> Event:
    """An event as ``event_to_wire`` wrote it."""
    fields = {key: value for key, value in wire.items() if key != "event"}
    if wire["event"] == "Failed":
        return Failed(fields["request_id"], from_wire(fields["error"]))
    kinds: dict[str, type[Reading | Token | Finished]] = {
        "Reading": Reading,
        "Token": Token,
        "Finished": Finished,
    }
    return kinds[wire["event"]](**fields)
