"""The file in which this machine's speed is kept."""

from __future__ import annotations

import json
import os
import platform
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from llmspell_jupyter.engine import costs
from llmspell_jupyter.engine.cores import usable_cores
from llmspell_jupyter.engine.costs import BaseCost, KindCost
from llmspell_jupyter.types import LoadOptions

_VERSION = 2

#: Least that answers of one model are taken to vary.
LEAST_SPREAD = 0.08

#: How far answers can move what was measured.
LEAST, MOST = 0.5, 2.0


@dataclass(slots=True)
class Measured:
    """What answers of one model took.

    Attributes:
        seconds: For a token.
        context: Tokens behind it.
        spread: How far answers are from that, as a share of it.
        runs: How many there were.
    """

    seconds: float
    context: float
    spread: float = LEAST_SPREAD
    runs: int = 1


@dataclass(slots=True)
class Place:
    """What was measured with one library, number of threads and device.

    Attributes:
        base: Costs beside weights; None before a measurement.
        kinds: Costs of weights by their kind.
        device: What computed; empty before a measurement.
        corrections: What answers took for each second that was foretold, by the kind of weights.
        models: What answers took, the newest last.
        disturbed: Other programs computed during the measurement; such a one is not kept.
    """

    base: BaseCost | None = None
    kinds: dict[str, KindCost] = field(default_factory=dict)
    device: str = ""
    corrections: dict[str, float] = field(default_factory=dict)
    models: dict[str, Measured] = field(default_factory=dict)
    disturbed: bool = False


def key(options: LoadOptions) -> str:
    """What a measurement holds for: machine, library, threads, device."""
    try:
        library = version("llama-cpp-python")
    except PackageNotFoundError:
        library = "none"
    threads = options.cpu_threads or usable_cores()
    return f"{_processor()}, {usable_cores()} cores; {library}; {threads}; {options.device}"


@cache
def _processor() -> str:
    with suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
        return next(line for line in lines if line.startswith("model name")).partition(": ")[2]
    return platform.processor() or platform.machine()


def _to_wire(place: Place) -> dict[str, Any]:
    return costs.to_wire(place.base, place.kinds) | {
        "device": place.device,
        "corrections": place.corrections,
        "models": {
            key: [each.seconds, each.context, each.spread, each.runs]
            for key, each in place.models.items()
        },
    }


def read(path: Path) -> dict[str, Place]:
    """What was kept; nothing when there is none or it is damaged."""
    try:
        wire = json.loads(path.read_text("utf-8"))
        if wire["version"] != _VERSION:
            return {}
        return {str(key): _place_from_wire(each) for key, each in wire["places"].items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}


def _place_from_wire(wire: Mapping[str, Any]) -> Place:
    base, kinds = costs.from_wire(wire)
    corrections = {
        str(name): min(MOST, max(LEAST, float(ratio)))
        for name, ratio in wire["corrections"].items()
    }
    models = {}
    for key, (seconds, context, spread, runs) in wire["models"].items():
        if not (0 < float(seconds) < 1e4 and 0 <= float(context) < 1e9 and 0 <= float(spread) < 10):
            raise ValueError("no speed of a model")
        models[str(key)] = Measured(float(seconds), float(context), float(spread), int(runs))
    return Place(base, kinds, str(wire["device"]), corrections, models)


def write(path: Path, places: Mapping[str, Place]) -> None:
    """Keep it; the file is written as a whole or not at all.

    Raises:
        OSError: It cannot be written.
    """
    wire = {key: _to_wire(each) for key, each in places.items()}
    text = json.dumps({"version": _VERSION, "places": wire}, indent=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    made = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        made.replace(path)
    except OSError:
        made.unlink(missing_ok=True)
        raise
