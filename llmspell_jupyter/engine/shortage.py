"""What a user is told when a model does not fit into memory."""

from __future__ import annotations

import math
from collections.abc import Mapping

from llmspell_jupyter.engine.memory import Room
from llmspell_jupyter.errors import NotEnoughMemory
from llmspell_jupyter.models import spec
from llmspell_jupyter.models.need import Need
from llmspell_jupyter.types import ModelInfo

_GB, _MB = 1_000_000_000, 1_000_000
_NAMES = {_GB: "GB", _MB: "MB"}

# How native libraries say it, in small letters.
_SIGNS = (
    "cannot allocate memory",
    "bad_alloc",
    "failed to allocate",
    "unable to allocate",
    "out of memory",
    "not enough memory",
)


def not_enough(
    model: str, need: Need, found: Room, short_by: int, loaded: Mapping[str, int]
) -> NotEnoughMemory:
    """The error for a model that does not fit.

    Args:
        model: Its id.
        need: What it takes.
        found: What there is.
        short_by: Bytes that would be missing even without the models that may leave.
        loaded: Models that stay, with what each takes.
    """
    unit = _GB if need.total >= _GB else _MB
    name = _NAMES[unit]
    parts = (("weights", need.weights), ("context", need.context), ("working space", need.working))
    listed = ", ".join(f"{part} {_up(size, unit)}" for part, size in parts)
    ways = ["a smaller context_size"] if need.context else []
    ways.append("a smaller quantization of the model")
    hint = f"Try {' or '.join(ways)}."
    if found.most is not None and need.total > found.most:
        there = f"a model can have {_down(found.most, unit)} {name} at most ({found.most_by})"
    else:
        there = f"{_down(found.free, unit)} {name} are free {found.where}"
        if (leaving := need.total - short_by - found.free) > 0:
            there += f", and {_down(leaving, unit)} more without the models that are idle"
        if loaded:
            largest = spec.typed(max(loaded, key=lambda each: loaded[each]))
            sizes = ", ".join(f"{each} ({_amount(size)})" for each, size in loaded.items())
            hint += f" In use or pinned: {sizes}; type: %model_unload {largest} --force"
    return NotEnoughMemory(
        f"{model} needs {_up(need.total, unit)} {name} ({listed}); {there}.",
        hint=hint,
        data={
            "model": model,
            "need": need.to_wire(),
            "free": found.free,
            "most": found.most,
            "short_by": short_by,
            "loaded": [{"model": each, "bytes": size} for each, size in loaded.items()],
        },
    )


def of_library(model: ModelInfo, cause: str) -> NotEnoughMemory | None:
    """The error for a load that a library gave up; None when it is not for lack of memory.

    Args:
        model: The model.
        cause: What the library said.
    """
    if not any(sign in cause.lower() for sign in _SIGNS):
        return None
    return NotEnoughMemory(
        f"{model.id} cannot be loaded: there is not enough memory for it ({cause}).",
        hint="Unload other models or end other programs, or try a smaller context_size or a "
        "smaller quantization of the model; %llmspell_status shows what is loaded.",
        data={"model": model.id, "path": str(model.path), "cause": cause},
    )


def _amount(size: int) -> str:
    unit = _GB if size >= _GB else _MB
    return f"{_up(size, unit)} {_NAMES[unit]}"


# Needs are rounded up and what is free down, so that they never look alike.


def _up(size: int, unit: int) -> str:
    return _shown(math.ceil(size / _step(unit)), unit)


def _down(size: int, unit: int) -> str:
    return _shown(math.floor(size / _step(unit)), unit)


def _step(unit: int) -> int:
    return unit // 10 if unit == _GB else unit


def _shown(steps: int, unit: int) -> str:
    return f"{steps / 10:,.1f}" if unit == _GB else f"{steps:,}"
